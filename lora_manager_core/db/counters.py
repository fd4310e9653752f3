"""Numbers that rise with every change of something: who remembers one sees that it is old."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import bindparam, select, update

from lora_manager_core.db.models import Counter
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession

ADAPTERS = "adapters_revision"
EMBEDDINGS = "embeddings_revision"
FEEDBACK = "feedback_revision"

# Made once, and read without the ORM: every request for a list begins with it.
_READ = select(Counter.value).where(Counter.name == bindparam("name"))


def read_counter(session: ReadSession, name: str) -> int:
    """The number as of this unit of work."""
    return int(session.connection().execute(_READ, {"name": name}).scalar_one())


def read_counters(session: ReadSession, names: Collection[str]) -> dict[str, int]:
    """Several numbers at once, by name."""
    query = select(Counter.name, Counter.value).where(Counter.name.in_(names))
    return {row[0]: row[1] for row in session.connection().execute(query)}


def raise_counter(session: WriteSession, name: str) -> int:
    """Raise it by one; gives the new number.

    Whoever raises the same counter elsewhere waits for the end of this unit of work. So rows that
    are marked with the number, in a unit that raised it first, become visible in its order.
    """
    statement = (
        update(Counter)
        .where(Counter.name == name)
        .values(value=Counter.value + 1)
        .returning(Counter.value)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).one()
