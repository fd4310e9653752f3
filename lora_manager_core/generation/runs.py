"""The rows of generations that really ran, from which usage is counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.models import Adapter, GenerationRun, RunAdapter
from lora_manager_core.db.unit_of_work import WriteSession

#: Generations of this application, and those of SD.Next's own page and API.
FROM_JOB = "job"
FROM_UI = "ui"


@dataclass(frozen=True, slots=True)
class Run:
    """One generation that made `images` pictures; `uses` is name in the prompt → strength."""

    source: str
    images: int
    uses: Mapping[str, float] = field(default_factory=dict)
    job_id: str | None = None
    duration_s: float | None = None
    model: str | None = None
    finished_at: str = field(default_factory=utc_now)


class RunWriter:
    """Records runs."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    def add(self, run: Run) -> None:
        """Record a run; a name that is nobody's is kept as it is, without an adapter.

        An adapter that goes by two names in one prompt is one adapter of the run.
        """
        # First, so that runs of other processes get their numbers in the order of their commits.
        counters.raise_counter(self._session, counters.FEEDBACK)
        row = GenerationRun(
            source=run.source,
            job_id=run.job_id,
            finished_at=run.finished_at,
            images=run.images,
            duration_s=run.duration_s,
            model=run.model,
        )
        self._session.add(row)
        self._session.flush()
        owners = self._owners(run.uses)
        recorded: set[str | None] = set()
        for position, (name, weight) in enumerate(run.uses.items()):
            adapter_id, record_name = owners.get(name, (None, name))
            if adapter_id is not None and adapter_id in recorded:
                continue
            recorded.add(adapter_id)
            self._session.add(
                RunAdapter(
                    run_id=row.id,
                    position=position,
                    adapter_id=adapter_id,
                    name=record_name,
                    weight=weight,
                )
            )
        self._session.flush()

    def _owners(self, names: Collection[str]) -> dict[str, tuple[str, str]]:
        """Name in a prompt → id and name of its record: by what resolves, else by record name.

        Of several records an active one counts.
        """
        found: dict[str, tuple[str, str]] = {}
        for column in (Adapter.name, Adapter.prompt_name):  # the last word is the latter's
            query = (
                select(column, Adapter.id, Adapter.name)
                .where(column.in_(list(names)))
                .order_by(Adapter.active, Adapter.pk.desc())
                .with_for_update(read=True, key_share=True)  # none is deleted before our commit
            )
            for name, adapter_id, record_name in self._session.execute(query):
                found[str(name)] = (adapter_id, record_name)
        return found
