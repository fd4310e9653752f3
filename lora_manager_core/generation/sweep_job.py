"""The sweep's job: makes every cell with the backend, and the labelled grid of them all.

Each finished cell is kept in a file, so that an attempt after a crash goes on where the last ended.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_manager_core.backends.base import (
    GenerationBackend,
    GenerationCancelled,
    GenerationRequest,
    StepProgress,
)
from lora_manager_core.backends.infotext import parameter_line, png_bytes, read_infotext
from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.compose.translate import PromptTranslator
from lora_manager_core.db.unit_of_work import WriteSession
from lora_manager_core.errors import GenerationFailed, LoraManagerError
from lora_manager_core.generation.jobs import data_url, image_url
from lora_manager_core.generation.pictures import PictureFolder, StoredPicture
from lora_manager_core.generation.repository import ResultWriter
from lora_manager_core.generation.runs import FROM_JOB, Run, RunWriter
from lora_manager_core.generation.sweep_grid import draw_grid, picture_size
from lora_manager_core.generation.sweep_plan import Cell, SweepPlan
from lora_manager_core.generation.usage import loras_used
from lora_manager_core.queueing.base import JobCancelled, JobContext, JobOutcome, JobProgress

SWEEP_JOB = "generation.sweep"


@dataclass(slots=True)
class _Made:
    """What comes together while the cells are made."""

    prompts: list[str] = field(default_factory=list)
    infotexts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    info: Mapping[str, Any] = field(default_factory=dict)


class SweepJob:
    """Runs one sweep; its payload is that of a picture order, and a `sweep` (see `SweepPlan`)."""

    def __init__(
        self, backends: BackendRegistry, translator: PromptTranslator, pictures: PictureFolder
    ) -> None:
        self._backends = backends
        self._translator = translator
        self._pictures = pictures

    def run(self, context: JobContext) -> JobOutcome:
        """Make and store the cells and the grid; gives links, info and warnings."""
        self._pictures.remove_leftovers()  # sweeps that were cancelled leave their cells
        try:
            return self._run(context)
        except LoraManagerError as failure:
            if not failure.may_pass:
                self._pictures.discard_kept(context.job_id)
            raise

    def _run(self, context: JobContext) -> JobOutcome:
        plan = SweepPlan.from_payload(context.payload)
        backend = self._backends.get(context.payload["backend"])
        started = time.perf_counter()
        made = _Made(warnings=list(context.payload.get("warnings", ())))
        progress = _SweepProgress(context, plan.cells)
        for number, cell in enumerate(plan.cells, start=1):
            context.raise_if_cancelled()
            self._make(context, backend, number, cell, progress, made)
        context.raise_if_cancelled()
        stored = self._store(context.job_id, plan, made)
        duration_s = round(time.perf_counter() - started, 3)
        result = {
            "images": [image_url(context.job_id, number) for number in range(len(stored))],
            "generation_info": {
                **made.info,
                "backend": backend.name,
                "prompt": plan.prompt,
                "seeds": [picture.seed for picture in stored],
                "infotexts": [picture.infotext for picture in stored],
                "duration_s": duration_s,
                "sweep": plan.payload(),
            },
            "warnings": list(dict.fromkeys(made.warnings)),
        }

        def _record(session: WriteSession) -> None:
            ResultWriter(session).add(context.job_id, plan.prompt, stored)
            RunWriter(session).add(
                Run(
                    FROM_JOB,
                    len(made.prompts),
                    loras_used(made.prompts),
                    context.job_id,
                    duration_s,
                    made.info.get("model"),
                )
            )

        def _undo() -> None:
            self._pictures.remove([picture.path for picture in stored])

        return JobOutcome(result, _record, _undo)

    def _make(
        self,
        context: JobContext,
        backend: GenerationBackend,
        number: int,
        cell: Cell,
        progress: _SweepProgress,
        made: _Made,
    ) -> None:
        translated = self._translator.translate(cell.prompt, backend)
        made.prompts.append(translated.prompt)
        made.warnings += translated.warnings
        kept = self._pictures.find_kept(context.job_id, number)
        if kept is not None:
            made.infotexts.append(read_infotext(kept.read_bytes()) or "")
            return
        request = GenerationRequest(
            **{**context.payload["params"], "prompt": translated.prompt, "seed": cell.seed}
        )
        progress.begin(number - 1)
        try:
            result = backend.generate(
                request, progress.report, context.is_cancelled, context.previews_wanted
            )
        except GenerationCancelled as cancelled:
            raise JobCancelled from cancelled
        progress.end()
        if not result.images:
            raise GenerationFailed("The backend finished without a picture; see its own log.")
        self._pictures.keep(context.job_id, number, result.images[0].png)
        made.infotexts.append(result.images[0].infotext)
        made.warnings += result.warnings
        made.info = result.info

    def _store(self, job_id: str, plan: SweepPlan, made: _Made) -> list[StoredPicture]:
        """The grid, then the cells."""
        cells = [self._pictures.find_kept(job_id, n) for n in range(1, len(plan.cells) + 1)]
        paths = [path for path in cells if path is not None]
        grid = draw_grid(paths, plan.columns, plan.rows)
        text = grid_infotext(made.infotexts[0], plan)
        sizes = [grid.size, *(picture_size(path) for path in paths)]
        self._pictures.keep(job_id, 0, png_bytes(grid, text))
        published: Sequence[Path] = self._pictures.publish_kept(job_id, len(sizes))
        seeds = [plan.seeds[0], *(cell.seed for cell in plan.cells)]
        texts = [text, *made.infotexts]
        return [
            StoredPicture(path, *size, seed, infotext)
            for path, size, seed, infotext in zip(published, sizes, seeds, texts, strict=True)
        ]


class _SweepProgress:
    """Puts the backend's progress on one picture into that on all of them."""

    def __init__(self, context: JobContext, cells: Sequence[Cell]) -> None:
        self._context = context
        self._cells = cells
        self._index = 0
        self._began = 0.0
        self._durations_s: list[float] = []

    def begin(self, index: int) -> None:
        self._index = index
        self._began = time.perf_counter()

    def end(self) -> None:
        self._durations_s.append(time.perf_counter() - self._began)

    def report(self, progress: StepProgress) -> None:
        count, cell = len(self._cells), self._cells[self._index]
        self._context.report(
            JobProgress(
                (self._index + progress.fraction) / count,
                self._index * progress.steps + progress.step,
                count * progress.steps,
                self._eta_s(progress),
                f"Picture {self._index + 1} of {count}: weight {cell.weight:g}, seed {cell.seed}",
                None if progress.preview is None else data_url(progress.preview),
            )
        )

    def _eta_s(self, progress: StepProgress) -> float | None:
        """Of all that is left: from the pictures made so far, else from this one."""
        if progress.eta_s is None:
            return None
        whole_s = time.perf_counter() - self._began + progress.eta_s
        if self._durations_s:
            whole_s = sum(self._durations_s) / len(self._durations_s)
        return progress.eta_s + whole_s * (len(self._cells) - self._index - 1)


def grid_infotext(first: str, plan: SweepPlan) -> str:
    """The first cell's infotext, and behind it the settings in which the cells differ."""
    names = "; ".join(adapter.name for adapter in plan.adapters)
    settings = {
        "Sweep LoRAs": names,
        "Sweep weights": "; ".join(f"{weight:g}" for weight in plan.weights),
        "Sweep seeds": "; ".join(map(str, plan.seeds)),
    }
    return ", ".join(part for part in (first, parameter_line(settings)) if part)
