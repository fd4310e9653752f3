"""Recommendations: vectors of texts, sketches of weights, sessions, feedback, preferences."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COUNTERS = ("embeddings_revision", "feedback_revision")


def _adapter_id() -> sa.Column[str]:
    return sa.Column("adapter_id", sa.String(length=36), nullable=False)


def _of_adapter(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["adapter_id"],
        ["adapters.id"],
        name=op.f(f"fk_{table}_adapter_id_adapters"),
        ondelete="CASCADE",
    )


def upgrade() -> None:
    op.create_table(
        "text_vectors",
        _adapter_id(),
        sa.Column("model_key", sa.String(length=300), nullable=False),
        sa.Column("text_digest", sa.String(length=64), nullable=False),
        sa.Column("adapter_updated_at", sa.String(length=27), nullable=False),
        sa.Column("text_vector", sa.LargeBinary(), nullable=True),
        sa.Column("tags_vector", sa.LargeBinary(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        _of_adapter("text_vectors"),
        sa.PrimaryKeyConstraint("adapter_id", name=op.f("pk_text_vectors")),
    )
    op.create_index("ix_text_vectors_by_revision", "text_vectors", ["revision"], unique=False)
    op.create_table(
        "weight_sketches",
        _adapter_id(),
        sa.Column("method", sa.Integer(), nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("file_mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=True),
        sa.Column("norm", sa.Float(), nullable=True),
        sa.Column("approximate", sa.Boolean(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("made_at", sa.String(length=27), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        _of_adapter("weight_sketches"),
        sa.PrimaryKeyConstraint("adapter_id", name=op.f("pk_weight_sketches")),
    )
    op.create_index("ix_weight_sketches_by_revision", "weight_sketches", ["revision"], unique=False)
    op.create_table(
        "recommendation_sessions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("query", sa.Text(), nullable=True),
        sa.Column("target_id", sa.String(length=36), nullable=True),
        sa.Column("mode", sa.String(length=20), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recommendation_sessions")),
    )
    op.create_index(
        "ix_recommendation_sessions_by_created",
        "recommendation_sessions",
        ["created_at"],
        unique=False,
    )
    op.create_table(
        "feedback_events",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        _adapter_id(),
        sa.Column("session_id", sa.String(length=36), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("implicit", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback_events")),
    )
    op.create_index(
        "ix_feedback_events_by_adapter", "feedback_events", ["adapter_id"], unique=False
    )
    op.create_index(
        "ix_feedback_events_by_created", "feedback_events", ["created_at"], unique=False
    )
    op.create_table(
        "preferences",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.Column("value_key", sa.String(length=200), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("explicit", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preferences")),
        sa.UniqueConstraint(
            "user", "kind", "value_key", name=op.f("uq_preferences_user_kind_value_key")
        ),
    )
    for name in _COUNTERS:
        op.execute(f"INSERT INTO counters (name, value) VALUES ('{name}', 1)")


def downgrade() -> None:
    for name in _COUNTERS:
        op.execute(f"DELETE FROM counters WHERE name = '{name}'")
    for table in (
        "preferences",
        "feedback_events",
        "recommendation_sessions",
        "weight_sketches",
        "text_vectors",
    ):
        op.drop_table(table)
