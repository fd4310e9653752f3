"""The job that looks at the weights of adapters: whatever file is new, or changed since."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.embeddings.turns import ComputeTurns
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.queueing.base import JobContext, JobProgress
from lora_manager_core.recommendations.vectors.jobs import (
    Pace,
    VectorJob,
    VectorOrder,
    VectorReport,
)
from lora_manager_core.recommendations.vectors.sketch_repository import (
    DueFile,
    NewSketch,
    SketchStore,
    SketchWriter,
)
from lora_manager_core.weights.method import METHOD
from lora_manager_core.weights.sketching import SketchWorkers

WEIGHTS_JOB = "embeddings.weights"
#: Files per commit, and for how long at most what is done waits for one.
_BATCH = 32
_LONGEST_S = 5.0


class SketchJob(VectorJob):
    """Sketches model files in helper processes of low priority.

    A file with a problem is not tried again before it changes, unless somebody asks for it.
    """

    kind = WEIGHTS_JOB

    def __init__(self, database: Database, turns: ComputeTurns, helpers: int | None = None) -> None:
        """`helpers` as for `SketchWorkers`."""
        self._database = database
        self._turns = turns
        self._helpers = helpers

    def unavailable(self) -> LoraManagerError | None:
        """Never: it needs no more than numpy."""
        return None

    def is_due(self, session: ReadSession) -> bool:
        """Whether a file was not looked at since it changed."""
        return SketchStore(session).any_due(METHOD)

    def counts(self, session: ReadSession) -> Mapping[str, int]:
        """Adapters by the state of their sketch, as `SketchStore.counts`."""
        return SketchStore(session).counts(METHOD)

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Sketch what the order names, or what is due."""
        started = time.monotonic()
        context.report(JobProgress(0.0, message="Looking for changed files"))
        order, report = VectorOrder.of(context.payload), VectorReport()
        ids = list(dict.fromkeys(order.adapter_ids)) if order.adapter_ids is not None else None
        with self._database.read() as session:
            files = SketchStore(session).files(METHOD, ids, current_too=order.force)
        report.skipped = len(ids) - len(files) if ids is not None else 0
        self._sketch(context, files, order.batch_size or _BATCH, report)
        report.duration_s = round(time.monotonic() - started, 3)
        return asdict(report)

    def _sketch(
        self, context: JobContext, files: Sequence[DueFile], batch_size: int, report: VectorReport
    ) -> None:
        pace = Pace(context, len(files), "files")
        done: list[NewSketch] = []
        stored_at = time.monotonic()
        with SketchWorkers(len(files), self._helpers) as workers:
            rows = workers.rows(
                [file.path for file in files],
                lambda: self._turns.turn("cpu", context.is_cancelled),
            )
            with closing(rows):
                for place, row in rows:
                    done.append(_new(files[place], row))
                    late = time.monotonic() - stored_at > _LONGEST_S
                    if len(done) >= batch_size or late:
                        self._store(done, report)
                        pace.add(len(done))
                        done, stored_at = [], time.monotonic()
                        context.raise_if_cancelled()
        if done:
            self._store(done, report)
            pace.add(len(done))

    def _store(self, sketches: Sequence[NewSketch], report: VectorReport) -> None:
        with self._database.write() as session:
            SketchWriter(session).put(sketches)
        report.computed += len(sketches)
        for sketch in sketches:
            if sketch.sketch is None:
                report.note(sketch.file.adapter_id, sketch.problem or "")


def _new(file: DueFile, row: Mapping[str, Any]) -> NewSketch:
    encoded = row.get("sketch")
    return NewSketch(
        file=file,
        method=METHOD,
        sketch=base64.b64decode(encoded) if encoded is not None else None,
        norm=row.get("norm"),
        approximate=row.get("approximate", False),
        profile=row.get("profile"),
        problem=row.get("problem"),
    )
