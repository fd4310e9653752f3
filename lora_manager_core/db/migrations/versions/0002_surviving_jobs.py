"""Jobs that survive: attempts, retries, idempotency; rated results; runs that are counted."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _new_job_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("work", sa.Float(), server_default="1", nullable=False),
        sa.Column("retries_left", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.String(length=27), nullable=True),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_digest", sa.String(length=64), nullable=True),
        sa.Column("retry_of", sa.String(length=36), nullable=True),
    ]


def _carry_over_results() -> None:
    """A result for every job that left pictures before there were results."""
    finished = op.get_bind().execute(
        sa.text(
            """SELECT id, finished_at, payload FROM jobs WHERE status = 'succeeded'
            AND id IN (SELECT job_id FROM result_images)"""
        )
    )
    results = [
        {
            "job_id": job_id,
            "finished_at": finished_at,
            "is_favorite": False,
            "prompt_key": json.loads(payload)["params"]["prompt"].casefold(),
        }
        for job_id, finished_at, payload in finished
    ]
    table = sa.table(
        "results",
        sa.column("job_id", sa.String()),
        sa.column("finished_at", sa.String()),
        sa.column("is_favorite", sa.Boolean()),
        sa.column("prompt_key", sa.Text()),
    )
    op.bulk_insert(table, results)


def upgrade() -> None:
    for column in _new_job_columns():
        op.add_column("jobs", column)
    op.create_index("ix_jobs_by_idempotency_key", "jobs", ["idempotency_key"], unique=True)
    op.create_index("ix_jobs_by_created", "jobs", ["created_at", "id"], unique=False)
    changed = sa.text("updated_at > created_at")
    op.create_index(
        "ix_adapters_by_change",
        "adapters",
        ["updated_at", "id"],
        unique=False,
        sqlite_where=changed,
        postgresql_where=changed,
    )
    op.create_index("ix_jobs_by_outcome", "jobs", ["kind", "status", "finished_at"], unique=False)
    op.create_index("ix_jobs_by_finished", "jobs", ["finished_at", "id"], unique=False)
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("started_at", sa.String(length=27), nullable=False),
        sa.Column("ended_at", sa.String(length=27), nullable=True),
        sa.Column("outcome", sa.String(length=10), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_attempts_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_job_attempts")),
    )
    op.create_table(
        "results",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("finished_at", sa.String(length=27), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("is_favorite", sa.Boolean(), nullable=False),
        sa.Column("prompt_key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_results_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_results")),
    )
    op.create_index(
        "ix_results_by_finished", "results", [sa.text("finished_at DESC"), "job_id"], unique=False
    )
    _carry_over_results()
    op.create_table(
        "generation_runs",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("source", sa.String(length=10), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("finished_at", sa.String(length=27), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation_runs")),
        sa.UniqueConstraint("job_id", name=op.f("uq_generation_runs_job_id")),
    )
    op.create_index(
        "ix_generation_runs_by_finished", "generation_runs", ["finished_at"], unique=False
    )
    op.create_table(
        "run_adapters",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.String(length=36), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["generation_runs.id"],
            name=op.f("fk_run_adapters_run_id_generation_runs"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["adapters.id"],
            name=op.f("fk_run_adapters_adapter_id_adapters"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("run_id", "position", name=op.f("pk_run_adapters")),
    )
    op.create_index(
        op.f("ix_run_adapters_adapter_id"), "run_adapters", ["adapter_id"], unique=False
    )


def downgrade() -> None:
    for table in ("run_adapters", "generation_runs", "results", "job_attempts"):
        op.drop_table(table)
    op.drop_index("ix_adapters_by_change", "adapters")
    for index in ("by_idempotency_key", "by_created", "by_outcome", "by_finished"):
        op.drop_index(f"ix_jobs_{index}", "jobs")
    for column in _new_job_columns():
        op.drop_column("jobs", column.name)
