"""Runs the alembic history that lies beside this module; one history serves both databases."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from lora_manager_core.db.engine import WRITE_OPTION

_MIGRATIONS = Path(__file__).with_name("migrations")


def upgrade_to_head(engine: Engine) -> None:
    """Apply every revision the database lacks, in one transaction that other processes wait for.

    Alembic is imported only when there is something to apply: it would cost every start 0.2 s.
    """
    if _current_revision(engine) == newest_revision():
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engine.execution_options(**{WRITE_OPTION: True}).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def newest_revision() -> str:
    """The revision of the schema that this program works with; later ones sort behind."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("*.py"))


def _current_revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
