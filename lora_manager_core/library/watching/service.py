"""Keeps the catalogue in step with the folders while a server runs: one thread.

It is told of changes by the system, or looks itself where the system does not tell (network drives,
too many folders), waits until files are complete, and hands them to the scan, bundled. While a scan
job waits or runs, changes wait.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.scan import SCAN_JOB, LibraryScan
from lora_manager_core.library.watching.drives import is_remote
from lora_manager_core.library.watching.names import may_concern
from lora_manager_core.library.watching.native import (
    ROUND_MS,
    NativeUnavailable,
    native_changes,
)
from lora_manager_core.library.watching.settling import Settling
from lora_manager_core.library.watching.tree import FolderTree
from lora_manager_core.queueing.base import JobCancelled, JobContext, JobProgress
from lora_manager_core.queueing.store import JobStore

_log = logging.getLogger(__name__)

NativeChanges = Callable[[Sequence[str], threading.Event], Iterator[set[str]]]
Method = Literal["events", "polling", "mixed"]

#: Between two looks at the roots themselves, in seconds: one may be replaced, or appear.
_ROOTS_EVERY_S = 1.0
#: Between two sweeps of the folders, in seconds: where that is all we have, and to be sure.
_POLL_EVERY_S = 1.0
_SWEEP_EVERY_S = 60.0
#: Between two looks at every file of a polled root, in seconds: for those written anew in place.
_FILES_EVERY_S = 60.0
#: Looking may take this part of the time at most.
_SHARE = 1 / 20
#: Between two portions that are brought in, in seconds, and after one that failed.
_PORTION_EVERY_S = 0.3
_AFTER_FAILURE_S = 5.0


@dataclass(frozen=True, slots=True)
class WatchState:
    """Whether changes are noticed, how, and why not, or not as quickly as they could be.

    `method`: the system tells (`events`), folders are looked at (`polling`), or either (`mixed`).
    `waiting`: paths that changed and are not brought in yet.
    """

    active: bool
    method: Method | None = None
    problem: str | None = None
    waiting: int = 0


@dataclass(slots=True)
class _Watched:
    """What is watched until the roots change."""

    roots: dict[str, tuple[int, int] | None]
    tree: FolderTree
    polled: list[str] = field(default_factory=list)
    doors: int = 0
    roots_at: float = 0.0
    sweep_at: float = 0.0
    files_at: float = 0.0


class LibraryWatch:
    """Start and stop it with the server. With `enabled` off it never starts.

    `changes` gives what the system tells, `remote` says where it tells nothing.
    """

    def __init__(
        self,
        database: Database,
        scan: LibraryScan,
        library_roots: Callable[[], Sequence[Path]],
        skip: Sequence[Path] = (),
        enabled: bool = True,
        changes: NativeChanges = native_changes,
        remote: Callable[[str], bool] = is_remote,
        settling: Settling | None = None,
    ) -> None:
        self._database = database
        self._scan = scan
        self._library_roots = library_roots
        self._skip = tuple(skip)
        self._enabled = enabled
        self._changes = changes
        self._remote = remote
        self._settling = settling or Settling()
        self._ready: dict[str, None] = {}
        self._portion_at = 0.0
        self._state = WatchState(False, problem=None if enabled else _SWITCHED_OFF)
        self._told: set[str] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def state(self) -> WatchState:
        """As it is now."""
        waiting = len(self._settling) + len(self._ready)
        state = self._state
        return WatchState(state.active, state.method, state.problem, waiting)

    def start(self) -> None:
        """Begin to watch; safe to call twice."""
        if self._thread is None and self._enabled:
            self._stopped = threading.Event()
            thread = threading.Thread(
                target=self._run, args=(self._stopped,), name="library-watch", daemon=True
            )
            thread.start()
            self._thread = thread

    def stop(self) -> None:
        """Stop watching; what was not brought in, the scan of the next start finds."""
        self._stopped.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=5.0)
        self._state = WatchState(False, problem=None if self._enabled else _SWITCHED_OFF)

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                self._watch(stopped)
            except Exception:  # noqa: BLE001 - the border of a thread that must outlive any file
                _log.exception("watching the library failed; it begins anew, with a look at all")
                stopped.wait(_AFTER_FAILURE_S)
                self._settling.note(map(str, self._library_roots()), time.monotonic())

    def _watch(self, stopped: threading.Event) -> None:
        """Watch the roots there are, until others are there."""
        roots = {str(root.absolute()): None for root in self._library_roots()}
        identities = {root: _identity(root) for root in roots}
        there = [root for root, identity in identities.items() if identity is not None]
        watched = _Watched(identities, FolderTree([Path(root) for root in there], self._skip))
        watched.tree.sweep()
        watched.doors = len(watched.tree.doors)
        watched.polled = [root for root in there if self._remote(root)]
        told = [folder for folder in there if folder not in watched.polled]
        told += watched.tree.outside()
        now = time.monotonic()
        watched.sweep_at, watched.files_at = now + _POLL_EVERY_S, now + _FILES_EVERY_S
        self._tell(watched, told, None)
        try:
            for changed in self._changes(told, stopped) if told else _quiet_rounds(stopped):
                if not self._round(watched, changed, stopped):
                    return
        except NativeUnavailable as unavailable:
            watched.polled = there
            self._tell(watched, [], str(unavailable))
        for changed in _quiet_rounds(stopped):
            if not self._round(watched, changed, stopped):
                return

    def _tell(self, watched: _Watched, told: Sequence[str], problem: str | None) -> None:
        """Remember how it is done, and log once what does not work."""
        if problem is not None and problem not in self._told:
            self._told.add(problem)
            _log.warning("%s Until then the folders are looked at every few seconds.", problem)
        method: Method = "events" if told else "polling"
        if told and watched.polled:
            method = "mixed"
        if problem is None and watched.polled:
            problem = f"On a network drive, looked at every few seconds: {watched.polled[0]}"
        self._state = WatchState(bool(told or watched.polled), method, problem)
        if not told and not watched.polled:
            self._state = WatchState(False, None, "No library folder is there.")

    def _round(self, watched: _Watched, changed: set[str], stopped: threading.Event) -> bool:
        """One look; False if it is to begin anew, or to end."""
        now = time.monotonic()
        if stopped.is_set():
            return False
        if changed:
            spelled = {watched.tree.spelled(path) for path in changed}
            self._settling.note((path for path in spelled if may_concern(path)), now)
        goes_on = self._look_at_roots(watched, now)
        if goes_on and now >= watched.sweep_at:
            goes_on = self._sweep(watched)
        if watched.polled and now >= watched.files_at:
            self._settling.note(watched.polled, now)
            watched.files_at = now + _FILES_EVERY_S
        for path in self._settling.take_due(now):
            self._ready[path] = None
        if self._ready and now >= self._portion_at:
            self._bring_in(stopped)
        return goes_on

    def _look_at_roots(self, watched: _Watched, now: float) -> bool:
        if now < watched.roots_at:
            return True
        watched.roots_at = now + _ROOTS_EVERY_S
        roots = {str(root.absolute()): None for root in self._library_roots()}
        identities = {root: _identity(root) for root in roots}
        if identities == watched.roots:
            return True
        fresh = [r for r, i in identities.items() if i is not None and i != watched.roots.get(r)]
        self._settling.note(fresh, now)
        return False

    def _sweep(self, watched: _Watched) -> bool:
        began = time.monotonic()
        changed = watched.tree.sweep()
        self._settling.note(changed, time.monotonic())
        took_s = time.monotonic() - began
        every_s = _POLL_EVERY_S if watched.polled else _SWEEP_EVERY_S
        watched.sweep_at = began + max(every_s, took_s / _SHARE)
        return len(watched.tree.doors) == watched.doors  # else there is another link to follow

    def _bring_in(self, stopped: threading.Event) -> None:
        with self._database.read() as session:
            if JobStore(session).find_unfinished(SCAN_JOB) is not None:
                return
        began = time.monotonic()
        ready, self._ready = self._ready, {}
        try:
            self._scan.run_paths((Path(path) for path in ready), _Unattended(stopped))
        except JobCancelled:
            return
        except SQLAlchemyError:
            _log.warning("%d changes were not brought in; they are soon", len(ready), exc_info=True)
            self._ready = {**ready, **self._ready}
            self._portion_at = time.monotonic() + _AFTER_FAILURE_S
            return
        took_s = time.monotonic() - began
        self._portion_at = began + max(_PORTION_EVERY_S, 1.5 * took_s)


_SWITCHED_OFF = "Watching is switched off; set `watch` to true."


class _Unattended(JobContext):
    """The context of work that nobody asked for: it ends with the watcher."""

    job_id = "library.watch"
    payload: dict[str, object] = {}

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    def report(self, progress: JobProgress) -> None:
        """Nobody looks at it."""

    def is_cancelled(self) -> bool:
        """Whether the watcher stops."""
        return self._stopped.is_set()


def _quiet_rounds(stopped: threading.Event) -> Iterator[set[str]]:
    while not stopped.wait(ROUND_MS / 1000):
        yield set()


def _identity(root: str) -> tuple[int, int] | None:
    """What tells a folder from another put in its place; None if there is none."""
    try:
        status = os.stat(root)  # noqa: PTH116 - texts, as in `walk`
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
