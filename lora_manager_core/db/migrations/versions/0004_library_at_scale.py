"""The library at scale: more of each file and of its use, undo with its bin, look-ups."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("tensors_sha256", sa.String(length=64)),
    ("autov3", sa.String(length=12)),
    ("file_sha256_problem", sa.Text()),
    ("base_model_confidence", sa.Float()),
    ("source_model_id", sa.String(length=50)),
    ("source_version_id", sa.String(length=50)),
    ("last_used_at", sa.String(length=27)),
)
#: Name, columns, and which rows: few of them, mostly.
_PARTIAL_INDEXES = (
    (
        "ix_adapters_unhashed",
        ["file_sha256_state", "file_state", "file_size"],
        "file_sha256_state <> 'done'",
    ),
    ("ix_adapters_not_present", ["file_state", "primary_file_sha256"], "file_state <> 'present'"),
)

# Use is counted where the rows of runs are written, so that no writer can forget it. Deletions
# cascade: a deleted run takes its rows with it, and those take the use of their adapters back.
_LAST_USE = """(SELECT max(finished_at) FROM generation_runs
    JOIN run_adapters ON run_adapters.run_id = generation_runs.id
    WHERE run_adapters.adapter_id = adapters.id)"""
_FORGET_USE = f"""UPDATE adapters SET use_count = use_count - 1, last_used_at = {_LAST_USE}
    WHERE id = OLD.adapter_id"""
_ADD_USE = """UPDATE adapters SET use_count = use_count + 1, last_used_at = {latest}(
    coalesce(last_used_at, ''), (SELECT finished_at FROM generation_runs WHERE id = NEW.run_id))
    WHERE id = NEW.adapter_id"""
_MOVE_USE = f"""UPDATE adapters SET last_used_at = {_LAST_USE}
    WHERE id IN (SELECT adapter_id FROM run_adapters WHERE run_id = NEW.id)"""
_SQLITE_USE = (
    f"""CREATE TRIGGER run_adapters_added AFTER INSERT ON run_adapters
        WHEN NEW.adapter_id IS NOT NULL BEGIN {_ADD_USE.format(latest="max")}; END""",
    f"""CREATE TRIGGER run_adapters_gone AFTER DELETE ON run_adapters
        WHEN OLD.adapter_id IS NOT NULL BEGIN {_FORGET_USE}; END""",
    f"""CREATE TRIGGER run_adapters_changed AFTER UPDATE OF adapter_id ON run_adapters
        WHEN OLD.adapter_id IS NOT NEW.adapter_id BEGIN
        {_FORGET_USE}; {_ADD_USE.format(latest="max")}; END""",
    f"""CREATE TRIGGER generation_runs_moved AFTER UPDATE OF finished_at ON generation_runs
        BEGIN {_MOVE_USE}; END""",
)
_POSTGRESQL_USE = (
    f"""CREATE FUNCTION count_adapter_use() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP <> 'INSERT' THEN {_FORGET_USE}; END IF;
        IF TG_OP <> 'DELETE' THEN {_ADD_USE.format(latest="greatest")}; END IF;
        RETURN NULL; END $$""",
    f"""CREATE FUNCTION move_adapter_use() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        {_MOVE_USE}; RETURN NULL; END $$""",
    """CREATE TRIGGER run_adapters_counted AFTER INSERT OR DELETE OR UPDATE OF adapter_id
        ON run_adapters FOR EACH ROW EXECUTE FUNCTION count_adapter_use()""",
    """CREATE TRIGGER generation_runs_moved AFTER UPDATE OF finished_at ON generation_runs
        FOR EACH ROW EXECUTE FUNCTION move_adapter_use()""",
)
# What nobody rated or used comes last; the repository orders by the same expressions.
_BY_RATING = sa.text("coalesce(rating, 0) DESC")
_BY_LAST_USE = sa.text("coalesce(last_used_at, '') DESC")


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("adapters", sa.Column(name, kind, nullable=True))
    op.add_column(
        "adapters", sa.Column("use_count", sa.Integer(), nullable=False, server_default="0")
    )
    op.create_index("ix_adapters_by_sha256", "adapters", ["primary_file_sha256"])
    op.create_index("ix_adapters_by_source_model", "adapters", ["source_model_id"])
    op.create_index(
        "ix_adapters_by_use", "adapters", [sa.text("use_count DESC"), "name_key"], unique=False
    )
    for name, columns, state in _PARTIAL_INDEXES:
        where = sa.text(state)
        op.create_index(name, "adapters", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_adapters_by_last_use", "adapters", [_BY_LAST_USE, "name_key"])
    op.create_index("ix_adapters_by_rating", "adapters", [_BY_RATING, "name_key"])
    op.create_index(
        "ix_adapters_by_facets", "adapters", ["favorite", "nsfw_level", "file_state"], unique=False
    )
    op.execute(
        "UPDATE adapters SET use_count = (SELECT count(*) FROM run_adapters "
        f"WHERE run_adapters.adapter_id = adapters.id), last_used_at = {_LAST_USE} "
        "WHERE id IN (SELECT adapter_id FROM run_adapters)"
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE_USE if sqlite else _POSTGRESQL_USE:
        op.execute(statement)

    op.create_table(
        "undo_entries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("record_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("undone_at", sa.String(length=27), nullable=True),
        sa.Column("before", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_undo_entries")),
    )
    op.create_index("ix_undo_entries_by_created", "undo_entries", ["created_at"])
    op.create_table(
        "binned_files",
        sa.Column("undo_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("bin_name", sa.Text(), nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("file_mtime_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["undo_id"],
            ["undo_entries.id"],
            name=op.f("fk_binned_files_undo_id_undo_entries"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("undo_id", "number", name=op.f("pk_binned_files")),
    )

    op.create_table(
        "look_ups",
        sa.Column("provider", sa.String(length=30), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("found", sa.Boolean(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("provider", "sha256", name=op.f("pk_look_ups")),
    )


def downgrade() -> None:
    for table in (
        "look_ups",
        "binned_files",
        "undo_entries",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "sqlite":
        for name in ("run_adapters_added", "run_adapters_gone", "run_adapters_changed"):
            op.execute(f"DROP TRIGGER {name}")
        op.execute("DROP TRIGGER generation_runs_moved")
    else:
        for function in ("count_adapter_use", "move_adapter_use"):
            op.execute(f"DROP FUNCTION {function} CASCADE")
    for index, *_ in _PARTIAL_INDEXES:
        op.drop_index(index, table_name="adapters")
    for index in ("sha256", "source_model", "use", "last_use", "rating", "facets"):
        op.drop_index(f"ix_adapters_by_{index}", table_name="adapters")
    for name in ("use_count", *(name for name, _ in _COLUMNS)):
        op.drop_column("adapters", name)
