"""Runs as they stand in the database, without the generations that left them."""

from __future__ import annotations

from collections.abc import Mapping

from lora_manager_core.db.models import GenerationRun, RunAdapter
from lora_manager_core.db.unit_of_work import Database


def add_run(
    database: Database,
    finished_at: str,
    uses: Mapping[str | None, float] | None = None,
    *,
    images: int = 1,
    duration_s: float | None = 2.0,
    model: str | None = "dream",
    source: str = "job",
    names: Mapping[str, str] | None = None,
) -> None:
    """One run; `uses` is adapter id → strength, `names` what its prompt called an adapter."""
    with database.write() as session:
        run = GenerationRun(
            source=source,
            finished_at=finished_at,
            images=images,
            duration_s=duration_s,
            model=model,
        )
        session.add(run)
        session.flush()
        for position, (adapter_id, weight) in enumerate((uses or {}).items()):
            session.add(
                RunAdapter(
                    run_id=run.id,
                    position=position,
                    adapter_id=adapter_id,
                    name=(names or {}).get(adapter_id or "", "gone"),
                    weight=weight,
                )
            )
