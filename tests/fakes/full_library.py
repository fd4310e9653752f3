"""A library that has everything an archive can hold: what people wrote, made and chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from lora_manager_core.db.models import (
    Choice,
    Collection,
    CollectionAdapter,
    ExcludedFile,
    FeedbackEvent,
    Job,
    JobAttempt,
    Preference,
    Result,
    ResultImage,
    Stack,
    StackedAdapter,
)
from lora_manager_core.db.unit_of_work import Database, WriteSession
from tests.fakes.runs import add_run

OLD, NEW = "2024-01-10T10:00:00.000000Z", "2025-06-10T10:00:00.000000Z"


def add_side_files(library: Path) -> None:
    """A side file and two pictures beside `alice`, a text beside `Zebra`."""
    folder = library / "characters"
    (folder / "alice.json").write_text('{"notes": "from Ünna"}', encoding="utf-8")
    Image.new("RGB", (8, 8), "red").save(folder / "alice.preview.png")
    Image.new("RGB", (8, 8), "blue").save(folder / "alice.jpg")
    (library / "styles" / "Zebra.txt").write_text("stripes", encoding="utf-8")


def add_people_data(database: Database, outputs: Path, adapter_id: str) -> None:
    """Two results with a picture each, a delivery, a scan, a run, a choice, a file left out,
    what somebody likes, a collection and a stack."""
    (outputs / "2024").mkdir(parents=True, exist_ok=True)
    with database.write() as session:
        for number, moment in enumerate((OLD, NEW)):
            job_id = f"job-{number}"
            picture = outputs / "2024" / f"{job_id}-0.png"
            Image.new("RGB", (16, 16), (number, 0, 0)).save(picture)
            session.add(_job(job_id, "generation.picture", "gpu", moment, work=3.5))
            session.flush()
            session.add(
                JobAttempt(
                    job_id=job_id, number=1, owner="me", started_at=moment, outcome="succeeded"
                )
            )
            session.add(
                Result(
                    job_id=job_id,
                    finished_at=moment,
                    rating=4,
                    is_favorite=True,
                    prompt_key="a cat",
                )
            )
            session.add(
                ResultImage(
                    job_id=job_id,
                    number=0,
                    file_path=str(picture),
                    width=16,
                    height=16,
                    seed=2**40,
                    infotext="a cat\nSteps: 1",
                    created_at=moment,
                )
            )
        session.add(_job("delivery-0", "delivery.http", "delivery", NEW))
        session.add(_job("scan-0", "library.scan", "library", NEW))
        session.add(Choice(name="injection", value={"on": True, "why": "ünd"}))
        session.add(
            ExcludedFile(
                file_key="/gone.safetensors",
                file_path="/gone.safetensors",
                name="gone",
                excluded_at=OLD,
            )
        )
        session.add(
            FeedbackEvent(
                id="feedback-0",
                kind="positive",
                adapter_id=adapter_id,
                reason="Ünd",
                created_at=OLD,
            )
        )
        session.add(
            Preference(
                id="preference-0",
                kind="style",
                value="Ünk",
                value_key="ünk",
                confidence=0.5,
                created_at=OLD,
                updated_at=NEW,
            )
        )
        _add_sets(session, adapter_id)
    add_run(database, OLD, {adapter_id: 0.8, None: 0.3})


def _add_sets(session: WriteSession, adapter_id: str) -> None:
    session.add(
        Collection(id="collection-0", name="Ünk", name_key="ünk", created_at=OLD, updated_at=NEW)
    )
    session.add(Stack(id="stack-0", name="Ünk", name_key="ünk", created_at=OLD, updated_at=NEW))
    session.flush()
    session.add(
        CollectionAdapter(
            collection_id="collection-0", adapter_id=adapter_id, position=0, added_at=OLD
        )
    )
    session.add(
        StackedAdapter(
            stack_id="stack-0",
            position=0,
            adapter_id=adapter_id,
            name="alice",
            weight=0.7,
            trigger_groups=["outfit"],
        )
    )


def _job(job_id: str, kind: str, lane: str, moment: str, **more: Any) -> Job:
    return Job(
        id=job_id,
        kind=kind,
        lane=lane,
        status="succeeded",
        payload={"prompt": "a cat <lora:alice:1.000>"},
        result={"images": 1},
        created_at=moment,
        started_at=moment,
        finished_at=moment,
        idempotency_key=f"key {job_id}",
        **more,
    )
