"""The job that asks a provider for files by their hash, and fills what records lack.

It commits answer by answer, so that it goes on where it was after an interruption; what was found
is never asked again unless wanted, what was not found after a month.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.common.clock import utc_after
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.library.chosen import chosen_rows
from lora_manager_core.library.lookups.base import (
    ModelInfoProvider,
    ProviderBusy,
    ProviderRefused,
    ProviderUnavailable,
)
from lora_manager_core.library.lookups.repository import LookUps, LookUpWriter
from lora_manager_core.library.previews.service import PreviewService
from lora_manager_core.library.renewal import RecordRenewal
from lora_manager_core.queueing.base import JobContext, JobProgress

#: After how long an unknown file is asked for again.
_ASK_AGAIN_S = 30 * 24 * 3600.0
#: Failures in a row after which the provider is given up for now, and tries of one file.
_MOST_FAILURES, _TRIES = 4, 2
#: Problems of single files that the result tells.
_MOST_ERRORS = 100
#: How often a pause looks whether the job is to stop.
_LOOK_S = 0.1
_COLUMNS = ("id", "primary_file_sha256", "source_version_id", "preview_path", "name")


@dataclass(slots=True)
class LookUpReport:
    """What one job did: numbers of files asked for, of records filled, and the first problems.

    `waiting` adapters have no hash yet; `known` were answered before and not asked for again.
    """

    asked: int = 0
    found: int = 0
    not_found: int = 0
    known: int = 0
    waiting: int = 0
    filled: int = 0
    previews: int = 0
    failed: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)

    def note(self, name: str, problem: str) -> None:
        """Count a problem."""
        self.failed += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append({"name": name, "detail": problem})


@dataclass(slots=True)
class _Target:
    """One hash and the adapters with it; `answered`: the answer is here, and not yet in them."""

    sha256: str
    rows: list[Any]
    answered: bool = False
    tries: int = 0


class LookUpJob:
    """Runs as a job; its payload is that of `schemas.LookUpRequest`, and `since`."""

    def __init__(
        self,
        database: Database,
        provider: ModelInfoProvider,
        renewal: RecordRenewal,
        previews: PreviewService,
    ) -> None:
        self._database = database
        self._provider = provider
        self._renewal = renewal
        self._previews = previews

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Ask for what is due; gives a `LookUpReport` as a dict.

        Raises:
            ProviderUnavailable: it failed several times in a row; the job is tried again later.
            ProviderRefused: it takes no requests of ours.
        """
        report = LookUpReport()
        due = deque(self._due(context.payload, report))
        total, failures = len(due), 0
        asked_at = float("-inf")
        while due:
            context.raise_if_cancelled()
            target = due.popleft()
            try:
                if not target.answered:
                    _pause(context, asked_at + self._provider.pause_s - time.monotonic())
                    asked_at = time.monotonic()
                    self._ask(target, report)
                self._fill(target, report, context.payload.get("previews"))
                failures = 0
            except ProviderRefused:
                raise
            except ProviderUnavailable as error:
                failures += 1
                if failures >= _MOST_FAILURES:
                    raise
                target.tries += not isinstance(error, ProviderBusy)
                if target.tries < _TRIES:
                    due.append(target)
                else:
                    report.note(target.rows[0].name, error.detail)
                if isinstance(error, ProviderBusy):
                    context.report(_progress(total - len(due), total, error.detail))
                    _pause(context, error.retry_after_s)
            words = f"{report.found} found, {report.not_found} not known"
            context.report(_progress(total - len(due), total, words))
        return asdict(report)

    def _due(self, payload: Mapping[str, Any], report: LookUpReport) -> Sequence[_Target]:
        with self._database.read() as session:
            rows = chosen_rows(session, payload, _COLUMNS)
            times = LookUps(session).times(self._provider.name)
        by_hash: dict[str, list[Any]] = {}
        for row in rows:
            if row.primary_file_sha256 is None:
                report.waiting += 1
            else:
                by_hash.setdefault(row.primary_file_sha256, []).append(row)
        month_ago = utc_after(-_ASK_AGAIN_S)
        due = []
        for sha256, same in by_hash.items():
            found, asked_at = times.get(sha256, (False, ""))
            is_old = asked_at < (payload["since"] if payload.get("again") else month_ago)
            if is_old and (not found or payload.get("again")):
                due.append(_Target(sha256, same))
            elif found and any(_lacks(row, payload.get("previews")) for row in same):
                due.append(_Target(sha256, same, answered=True))
            else:
                report.known += 1
        return due

    def _ask(self, target: _Target, report: LookUpReport) -> None:
        answer = self._provider.find(target.sha256)
        with self._database.write() as session:
            LookUpWriter(session).put(self._provider.name, target.sha256, answer)
        target.answered = True
        report.asked += 1
        report.found += answer is not None
        report.not_found += answer is None

    def _fill(self, target: _Target, report: LookUpReport, previews: str | None) -> None:
        """Bring the records up to date with the answer that is stored."""
        with self._database.read() as session:
            stored = LookUps(session).get(self._provider.name, target.sha256)
            adapters = Adapters(session).get_many(_ids(target))
        if stored is None or stored.answer is None:
            return
        paths = [adapter.file_path for adapter in adapters]
        rows = self._renewal.read(paths, stored.answer)
        with self._database.write() as session:
            writer = AdapterWriter(session)
            same = [
                adapter
                for adapter in writer.get_many(_ids(target))
                if adapter.primary_file_sha256 == target.sha256  # else it was replaced meanwhile
            ]
            report.filled += len(self._renewal.store(session, same, rows))
        if previews is not None:
            self._fetch_preview(target, stored.answer, previews, report)

    def _fetch_preview(
        self, target: _Target, answer: Mapping[str, Any], where: str, report: LookUpReport
    ) -> None:
        bare = [row for row in target.rows if row.preview_path is None]
        url = _picture_url(answer)
        if not bare or url is None:
            return
        try:
            content = self._provider.picture(url)
            for row in bare:
                self._previews.put(row.id, content, beside=where == "beside")
                report.previews += 1
        except ProviderUnavailable:
            raise
        except LoraManagerError as error:  # no picture, gone meanwhile, or not to be written
            report.note(bare[0].name, error.detail)


def _ids(target: _Target) -> list[str]:
    return [row.id for row in target.rows]


def _lacks(row: Any, previews: str | None) -> bool:
    """Whether an answer that is here already has something for the record."""
    return row.source_version_id is None or (previews is not None and row.preview_path is None)


def _picture_url(answer: Mapping[str, Any]) -> str | None:
    """The address of the first picture, else of the first clip."""
    images = answer.get("images")
    shown = [one for one in images if isinstance(one, dict)] if isinstance(images, list) else []
    shown.sort(key=lambda one: one.get("type", "image") != "image")
    urls = (one.get("url") for one in shown)
    return next((url for url in urls if isinstance(url, str)), None)


def _progress(done: int, total: int, words: str) -> JobProgress:
    return JobProgress(done / total if total else 1.0, done, total, message=words)


def _pause(context: JobContext, seconds: float) -> None:
    """Wait; raises `JobCancelled` if the job is to stop meanwhile."""
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        context.raise_if_cancelled()
        time.sleep(min(_LOOK_S, left_s))
