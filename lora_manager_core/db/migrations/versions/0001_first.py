"""The first schema: adapters with their full-text index, jobs, pictures, keys and choices."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# No trigger on insert: one statement per batch (`AdapterWriter`) costs half of one per row.
_SQLITE_SEARCH = (
    """CREATE VIRTUAL TABLE adapters_fts USING fts5(
        search_text, content='adapters', content_rowid='pk', tokenize='trigram')""",
    """CREATE TRIGGER adapters_fts_delete AFTER DELETE ON adapters BEGIN
        INSERT INTO adapters_fts(adapters_fts, rowid, search_text)
        VALUES ('delete', old.pk, old.search_text); END""",
    """CREATE TRIGGER adapters_fts_update AFTER UPDATE OF search_text ON adapters
        WHEN old.search_text IS NOT new.search_text BEGIN
        INSERT INTO adapters_fts(adapters_fts, rowid, search_text)
        VALUES ('delete', old.pk, old.search_text);
        INSERT INTO adapters_fts(rowid, search_text) VALUES (new.pk, new.search_text); END""",
)
_POSTGRESQL_SEARCH = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """CREATE INDEX ix_adapters_search_text ON adapters
        USING gin (search_text gin_trgm_ops)""",
)


def upgrade() -> None:
    op.create_table(
        "adapters",
        sa.Column(
            "pk",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("name_key", sa.String(length=500), nullable=False),
        sa.Column("version", sa.String(length=200), nullable=True),
        sa.Column("version_key", sa.String(length=200), nullable=False),
        sa.Column("canonical_version_name", sa.String(length=500), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("author_username", sa.String(length=200), nullable=True),
        sa.Column("visibility", sa.String(length=20), nullable=False),
        sa.Column("published_at", sa.String(length=40), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("trained_words", sa.Text(), nullable=False),
        sa.Column("triggers", sa.Text(), nullable=False),
        sa.Column("trigger_groups", sa.Text(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=True),
        sa.Column("archetype", sa.String(length=200), nullable=True),
        sa.Column("archetype_confidence", sa.Float(), nullable=True),
        sa.Column("supports_generation", sa.Boolean(), nullable=False),
        sa.Column("sd_version", sa.String(length=100), nullable=True),
        sa.Column("nsfw_level", sa.Integer(), nullable=False),
        sa.Column("activation_text", sa.Text(), nullable=True),
        sa.Column("stats", sa.Text(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=True),
        sa.Column("favorite", sa.Boolean(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("negative_prompt", sa.Text(), nullable=True),
        sa.Column("weight_min", sa.Float(), nullable=True),
        sa.Column("weight_max", sa.Float(), nullable=True),
        sa.Column("weight_te", sa.Float(), nullable=True),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("file_key", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("file_state", sa.String(length=10), nullable=False),
        sa.Column("file_problem", sa.Text(), nullable=True),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("file_mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("side_signature", sa.Text(), nullable=False),
        sa.Column("primary_file_name", sa.String(length=500), nullable=True),
        sa.Column("primary_file_size_kb", sa.Float(), nullable=True),
        sa.Column("primary_file_sha256", sa.String(length=64), nullable=True),
        sa.Column("primary_file_download_url", sa.Text(), nullable=True),
        sa.Column("primary_file_local_path", sa.Text(), nullable=True),
        sa.Column("file_sha256_state", sa.String(length=10), nullable=False),
        sa.Column("autov2", sa.String(length=10), nullable=True),
        sa.Column("json_file_path", sa.Text(), nullable=True),
        sa.Column("json_file_mtime", sa.Float(), nullable=True),
        sa.Column("json_file_size", sa.BigInteger(), nullable=True),
        sa.Column("preview_path", sa.Text(), nullable=True),
        sa.Column("network_type", sa.String(length=30), nullable=True),
        sa.Column("base_model", sa.String(length=100), nullable=True),
        sa.Column("base_model_source", sa.String(length=20), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column("alpha", sa.Float(), nullable=True),
        sa.Column("prompt_name", sa.Text(), nullable=True),
        sa.Column("prompt_name_problem", sa.Text(), nullable=True),
        sa.Column("origin", sa.String(length=10), nullable=False),
        sa.Column("edited_fields", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("last_ingested_at", sa.String(length=27), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_adapters")),
        sa.UniqueConstraint("id", name=op.f("uq_adapters_id")),
        sa.UniqueConstraint("name", "version_key", name=op.f("uq_adapters_name_version_key")),
    )
    op.create_index("ix_adapters_by_active", "adapters", ["active", "ordinal"], unique=False)
    op.create_index(
        "ix_adapters_by_base_model", "adapters", ["base_model", "name_key"], unique=False
    )
    op.create_index("ix_adapters_by_created", "adapters", [sa.text("created_at DESC"), "name_key"])
    op.create_index("ix_adapters_by_file_key", "adapters", ["file_key"], unique=False)
    op.create_index("ix_adapters_by_folder", "adapters", ["folder"], unique=False)
    op.create_index("ix_adapters_by_prompt_name", "adapters", ["prompt_name"], unique=False)
    op.create_index("ix_adapters_by_name", "adapters", ["name_key", "pk"], unique=False)
    op.create_index(
        "ix_adapters_by_network_type", "adapters", ["network_type", "name_key"], unique=False
    )
    op.create_index("ix_adapters_by_size", "adapters", [sa.text("file_size DESC"), "name_key"])
    op.create_index("ix_adapters_by_updated", "adapters", [sa.text("updated_at DESC"), "name_key"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_table(
        "choices",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_choices")),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.create_table(
        "excluded_files",
        sa.Column("file_key", sa.Text(), nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("excluded_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("file_key", name=op.f("pk_excluded_files")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("lane", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("steps", sa.Integer(), nullable=True),
        sa.Column("eta_s", sa.Float(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=100), nullable=True),
        sa.Column("lease_until", sa.String(length=27), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("started_at", sa.String(length=27), nullable=True),
        sa.Column("finished_at", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_by_kind", "jobs", ["kind", "created_at"], unique=False)
    op.create_index("ix_jobs_by_status", "jobs", ["status", "created_at"], unique=False)
    op.create_table(
        "adapter_tags",
        sa.Column("tag_key", sa.String(length=200), nullable=False),
        sa.Column(
            "adapter_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("tag", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_pk"],
            ["adapters.pk"],
            name=op.f("fk_adapter_tags_adapter_pk_adapters"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tag_key", "adapter_pk", name=op.f("pk_adapter_tags")),
    )
    op.create_index(
        op.f("ix_adapter_tags_adapter_pk"), "adapter_tags", ["adapter_pk"], unique=False
    )
    op.create_table(
        "result_images",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("infotext", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_result_images_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_result_images")),
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE_SEARCH if sqlite else _POSTGRESQL_SEARCH:
        op.execute(statement)
    op.execute("INSERT INTO counters (name, value) VALUES ('adapters_revision', 1)")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE adapters_fts")
    for table in (
        "adapter_tags",
        "result_images",
        "adapters",
        "jobs",
        "excluded_files",
        "counters",
        "choices",
        "api_keys",
    ):
        op.drop_table(table)
