"""Alembic's entry: works on the connection that `db.migrate` opened, never on one of its own."""

from alembic import context

from lora_manager_core.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
    # The full-text tables are made by hand in the revisions and have no model.
    include_object=lambda _object, name, kind, *_: (
        not (kind == "table" and str(name).startswith("adapters_fts"))
    ),
)
context.run_migrations()
