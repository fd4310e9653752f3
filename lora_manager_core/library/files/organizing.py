"""Organising the library by a template: the plan, and the job that carries it out."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.undo.kinds import TakeBack
from lora_manager_core.adapters.undo.recorder import UndoRecorder
from lora_manager_core.common.paths import path_key
from lora_manager_core.db.models import Job, UndoEntry
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import InvalidRequest, LoraManagerError, UndoConflict
from lora_manager_core.library.chosen import ChosenAdapters, chosen_rows, require_known
from lora_manager_core.library.files.acts import FileActs
from lora_manager_core.library.files.companions import Companions, LibraryRoots
from lora_manager_core.library.files.relocating import (
    ORGANIZE,
    Relocation,
    Relocator,
    as_before,
    root_of,
)
from lora_manager_core.library.files.repository import FileRecords
from lora_manager_core.library.files.template import PlaceTemplate
from lora_manager_core.queueing.base import LIBRARY_LANE, UNFINISHED, JobContext, JobProgress
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore

ORGANIZE_JOB = "library.organize"

#: Files per act: one that fails is taken back as a whole and done again file by file.
_BATCH = 50
_COLUMNS = (
    "id", "name", "version", "author_username", "base_model", "network_type", "tags", "file_path",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Staying:
    """A file that stays, and why."""

    adapter_id: str
    name: str
    path: str
    reason: str


@dataclass(slots=True)
class OrganizePlan:
    """What would move, what stays (in its place already, or gone), and what is in the way."""

    moves: list[Relocation] = field(default_factory=list)
    stays: list[Staying] = field(default_factory=list)
    conflicts: list[Staying] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


class OrganizeService:
    """Brings files to where a template says that they belong."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        relocator: Relocator,
        acts: FileActs,
        recorder: UndoRecorder,
        roots: LibraryRoots,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._relocator = relocator
        self._acts = acts
        self._recorder = recorder
        self._roots = roots
        runner.register(ORGANIZE_JOB, self._run)

    def plan(self, template: str, chosen: ChosenAdapters, limit: int) -> dict[str, Any]:
        """What `start` would do, `limit` files of each list; nothing is touched.

        Raises:
            Unprocessable: the template is none.
            AdapterNotFound: adapters are named that there are not.
        """
        order = chosen.order()
        with self._database.read() as session:
            require_known(session, chosen)
        plan = self._plan(PlaceTemplate(template), order)
        return {
            "move_count": len(plan.moves),
            "stay_count": len(plan.stays),
            "conflict_count": len(plan.conflicts),
            "moves": [
                {
                    "adapter_id": one.adapter_id,
                    "name": plan.names[one.adapter_id],
                    "from": str(one.source),
                    "to": str(one.destination),
                }
                for one in plan.moves[:limit]
            ],
            "stays": [asdict(one) for one in plan.stays[:limit]],
            "conflicts": [asdict(one) for one in plan.conflicts[:limit]],
        }

    def start(self, template: str, chosen: ChosenAdapters) -> Job:
        """Do it as a job; its id is also what takes it back.

        Raises:
            Unprocessable: the template is none.
            AdapterNotFound: adapters are named that there are not.
            InvalidRequest: another such job is under way.
        """
        PlaceTemplate(template)
        with self._database.write() as session:
            require_known(session, chosen)
            if JobStore(session).find_unfinished(ORGANIZE_JOB) is not None:
                raise InvalidRequest("The library is being organised already; wait, or cancel it.")
            payload = {"template": template, "chosen": chosen.order()}
            return self._jobs.submit(session, ORGANIZE_JOB, LIBRARY_LANE, payload)

    @contextmanager
    def taking_back(self, entry: UndoEntry) -> Iterator[TakeBack]:
        """See `UndoKind`; not while the job is at it."""
        with self._database.read() as session:
            job = JobStore(session).get(entry.id)
        if job is not None and job.status in UNFINISHED:
            raise UndoConflict("The library is still being organised; cancel that job first.")
        with self._relocator.taking_back(entry) as take_back:
            yield take_back

    def _plan(self, template: PlaceTemplate, chosen: Mapping[str, Any]) -> OrganizePlan:
        with self._database.read() as session:
            rows = chosen_rows(session, chosen, _COLUMNS)
        plan, roots = OrganizePlan(), [root.absolute() for root in self._roots()]
        wanted: dict[str, str] = {}
        seen: set[str] = set()
        for row in rows:
            source = Path(row.file_path)
            plan.names[row.id] = row.name
            root = root_of(source, roots)
            if path_key(source) in seen:
                plan.stays.append(_staying(row, "It goes with another record of the same file."))
                continue
            seen.add(path_key(source))
            if root is None or not os.path.lexists(source):
                why = "The file is gone." if root else "It lies outside the library folders."
                plan.stays.append(_staying(row, why))
                continue
            folder, name = template.place(_values(row, source), source.suffix)
            destination = root / folder / name
            rival = wanted.setdefault(_as_everywhere(destination), row.id)
            if _is_same_place(source, destination):
                plan.stays.append(_staying(row, "It is in its place."))
            elif rival != row.id:
                named = plan.names[rival]
                plan.conflicts.append(_staying(row, f"“{named}” belongs at {destination}, too."))
            elif self._acts.is_taken(source, destination):
                plan.conflicts.append(_staying(row, f"Something lies at {destination}."))
            else:
                plan.moves.append(Relocation(row.id, source, destination))
        return plan

    def _run(self, context: JobContext) -> Mapping[str, Any]:
        template = PlaceTemplate(context.payload["template"])
        context.report(JobProgress(0.0, message="Planning"))
        plan = self._plan(template, context.payload["chosen"])
        problems: list[dict[str, str]] = []
        if plan.moves:
            self._remember(context.job_id, plan)
            try:
                problems = self._carry_out(context, plan)
            finally:
                self._relocator.refresh(plan.moves)
        return {
            "moved": len(plan.moves) - len(problems),
            "stayed": len(plan.stays),
            "conflicts": [asdict(one) for one in plan.conflicts],
            "problems": problems,
            "undo_id": context.job_id if plan.moves else None,
        }

    def _carry_out(self, context: JobContext, plan: OrganizePlan) -> list[dict[str, str]]:
        companions = Companions(self._roots(), [one.source for one in plan.moves])
        problems: list[dict[str, str]] = []
        total = len(plan.moves)
        for start in range(0, total, _BATCH):
            context.raise_if_cancelled()
            batch = plan.moves[start : start + _BATCH]
            problems += self._move(batch, companions, plan, context.raise_if_cancelled)
            done = min(start + _BATCH, total)
            message = f"{done} of {total} files"
            context.report(JobProgress(done / total, done, total, message=message))
        return problems

    def _remember(self, job_id: str, plan: OrganizePlan) -> None:
        """What will be moved: those that are not, when it is taken back, stay as they are."""
        with self._database.write() as session:
            if FileRecords(session).entry_state(job_id) is None:  # else this is another attempt
                title = f"Organised {len(plan.moves)} files"
                self._recorder.record(session, ORGANIZE, title, as_before(plan.moves), job_id)

    def _move(
        self,
        batch: Sequence[Relocation],
        companions: Companions,
        plan: OrganizePlan,
        check: Callable[[], None],
    ) -> list[dict[str, str]]:
        """Move files; gives those that could not be, and why."""
        try:
            with (
                self._relocator.relocating(batch, companions) as relocate,
                self._database.write() as session,
            ):
                relocate(session)
        except LoraManagerError as error:
            if len(batch) == 1:
                (one,) = batch
                stays = Staying(
                    one.adapter_id, plan.names[one.adapter_id], str(one.source), error.detail
                )
                return [asdict(stays)]
            problems = []
            for one in batch:
                check()
                problems += self._move([one], companions, plan, check)
            return problems
        return []


def _values(row: Any, source: Path) -> dict[str, str | None]:
    return {
        "base_model": row.base_model,
        "author": row.author_username,
        "name": row.name,
        "file": source.stem,
        "version": row.version,
        "network_type": row.network_type,
        "tag": row.tags[0] if row.tags else None,
    }


def _staying(row: Any, reason: str) -> Staying:
    return Staying(row.id, row.name, row.file_path, reason)


def _is_same_place(source: Path, destination: Path) -> bool:
    """Whether nothing would move; folders whose case alone differs are one where they are one."""
    if source == destination:
        return True
    same_folder = _as_everywhere(source.parent) == _as_everywhere(destination.parent)
    return (
        same_folder
        and source.name == destination.name
        and destination.exists()
        and source.samefile(destination)
    )


def _as_everywhere(path: Path) -> str:
    """Equal for paths that are one on any system: without case, composed."""
    return unicodedata.normalize("NFC", str(path)).casefold()
