"""Exports over the API: estimated, streamed, made as jobs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pyzipper

from lora_manager_core.errors import Busy, ExportNotFound
from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, Feed
from lora_manager_core.import_export.archive.zip_writer import PIECE_BYTES
from lora_manager_core.import_export.exports.service import ExportService
from lora_manager_core.import_export.schemas import ExportRequest
from lora_manager_core.queueing.service import Jobs
from tests.core.conftest import Home
from tests.fakes.full_library import add_people_data, add_side_files

ALL = {"generations": True, "user_data": True, "system_config": True, "analytics": True}
LARGE_BYTES = 12 * PIECE_BYTES  # more than a stream makes ahead of who takes it


@pytest.fixture
def full(home: Home) -> Home:
    """A library with everything an archive can hold."""
    add_side_files(home.library)
    home.scan()
    alice = home.adapter("alice")["id"]
    add_people_data(home.application.database, home.application.settings.outputs, alice)
    return home


@pytest.fixture
def large(full: Home) -> Home:
    """The same, with a picture that a stream does not get past unless somebody takes it."""
    (full.library / "characters" / "alice.jpg").write_bytes(os.urandom(LARGE_BYTES))
    full.scan()
    return full


def export(home: Home, path: str = "/v1/import-export/export", **request: Any) -> Any:
    return home.client.post(path, json=request)


def names_in(content: bytes) -> set[str]:
    """The adapters of an archive, by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = [name for name in archive.namelist() if name.endswith("record.json")]
        return {json.loads(archive.read(name))["adapter"]["name"] for name in records}


class TestStreaming:
    @pytest.mark.parametrize("path", ["/v1/import-export/export", "/v1/export", "/api/v1/export"])
    def test_everything_comes_as_a_download(self, full: Home, path: str) -> None:
        answer = export(full, path, **ALL)

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"].startswith(
            'attachment; filename="lora_export_2'
        )
        assert names_in(answer.content) == {"alice", "ink_v2", "Zebra"}
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert json.loads(archive.read("manifest.json"))["id"] == answer.headers["x-export-id"]

    def test_adapters_are_chosen_by_id(self, full: Home) -> None:
        chosen = full.adapter("alice")["id"]

        assert names_in(export(full, adapter_ids=[chosen, chosen]).content) == {"alice"}

    def test_adapters_are_chosen_by_what_lists_take(self, full: Home) -> None:
        asked = {"folder": "styles", "page": 7, "per_page": 1, "sort": "random"}

        assert names_in(export(full, filter=asked).content) == {"ink_v2", "Zebra"}

    def test_the_feed_follows_it(self, large: Home) -> None:
        feed = large.record_feed()

        answer = export(large)

        told = [event for event in feed.events if event.job_id == answer.headers["x-export-id"]]
        types = [event.type for event in told]
        assert types[0] == STARTED
        assert types[-1] == COMPLETE
        assert set(types[1:-1]) <= {PROGRESS}
        assert told[-1].data["status"] == "completed"
        assert told[-1].data["result"]["size"] == len(answer.content)
        assert "password" not in str(told)

    def test_one_that_nobody_takes_to_its_end_is_cancelled(self, large: Home) -> None:
        feed = large.record_feed()
        before = {thread.name for thread in threading.enumerate()}
        stream = large.application.services.get(ExportService).stream(ExportRequest())
        next(stream)
        next(stream)

        stream.close()
        stream.close()

        ends = [event.data["status"] for event in feed.events if event.type == COMPLETE]
        assert ends == ["cancelled"]
        assert {thread.name for thread in threading.enumerate()} <= before
        assert not list((large.application.settings.data_dir / "unfinished").iterdir())

    def test_one_that_fails_breaks_off_and_says_so_on_the_feed(self, large: Home) -> None:
        feed = large.record_feed()
        stream = large.application.services.get(ExportService).stream(ExportRequest())
        pieces = [next(stream), next(stream)]
        os.truncate(large.library / "styles" / "Zebra.safetensors", 10)

        with pytest.raises(Exception, match=r"Zebra\.safetensors was changed"):
            pieces.extend(stream)
        stream.close()

        end = feed.events[-1]
        assert (end.type, end.data["status"]) == (COMPLETE, "failed")
        assert "Zebra.safetensors" in end.data["error_message"]
        with pytest.raises(zipfile.BadZipFile):
            zipfile.ZipFile(io.BytesIO(b"".join(pieces)))

    def test_there_is_a_bound_to_those_at_once(self, large: Home) -> None:
        service = large.application.services.get(ExportService)
        streams = [service.stream(ExportRequest()) for _ in range(8)]
        with pytest.raises(Busy):
            service.stream(ExportRequest())
        for stream in streams:
            stream.close()

        service.stream(ExportRequest()).close()


class TestRefusals:
    @pytest.mark.parametrize(
        ("request_", "status", "says"),
        [
            pytest.param({"format": "tar.gz"}, 400, "`zip`", id="format"),
            pytest.param({"split_archives": True}, 400, "not split", id="split"),
            pytest.param({"loras": False}, 400, "Nothing is chosen", id="nothing"),
            pytest.param({"adapter_ids": []}, 400, "Nothing is chosen", id="no ids"),
            pytest.param({"adapter_ids": ["x"], "filter": {}}, 400, "not by both", id="both"),
            pytest.param({"encrypt": True}, 400, "needs a `password`", id="no password"),
            pytest.param({"password": "x"}, 400, "`encrypt` is not true", id="not encrypted"),
            pytest.param({"password": "", "encrypt": True}, 422, "password", id="empty password"),
            pytest.param({"filter": {"colour": 1}}, 422, "no parameter colour", id="filter"),
            pytest.param({"filter": {"sort": "colour"}}, 422, "filter", id="value in filter"),
            pytest.param({"generation_range": "date_range"}, 400, "date_from", id="no dates"),
            pytest.param(
                {"generation_range": "date_range", "date_from": "soon"},
                400,
                "no date such as",
                id="bad date",
            ),
            pytest.param(
                {
                    "generation_range": "date_range",
                    "date_from": "2025-01-02",
                    "date_to": "2025-01-01T00:00:00Z",
                },
                400,
                "later than",
                id="no range",
            ),
            pytest.param({"colour": 1}, 422, "colour", id="unknown field"),
        ],
    )
    @pytest.mark.parametrize("background", [False, True], ids=["stream", "job"])
    def test_what_means_nothing(
        self, home: Home, request_: dict[str, Any], status: int, says: str, background: bool
    ) -> None:
        answer = export(home, **request_, background=background)

        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert says in answer.text

    @pytest.mark.parametrize("path", ["/v1/export", "/v1/export/estimate"])
    def test_unknown_ids_are_named(self, home: Home, path: str) -> None:
        known = home.adapter("alice")["id"]
        answer = export(home, path, adapter_ids=["no-such", known, "nor-this"])

        assert answer.status_code == 404
        assert answer.json()["code"] == "adapter_not_found"
        assert answer.json()["unknown_ids"] == ["no-such", "nor-this"]


class TestEncryption:
    def test_the_archive_opens_with_the_password_alone(self, full: Home) -> None:
        answer = export(full, encrypt=True, password="long pässword", **ALL)

        with pyzipper.AESZipFile(io.BytesIO(answer.content)) as archive:
            with pytest.raises(RuntimeError, match="requires a password"):
                archive.read("manifest.json")
            archive.setpassword("long pässword".encode())
            assert json.loads(archive.read("manifest.json"))["counts"]["adapters"] == 3

    def test_a_job_leaves_its_password_nowhere(self, full: Home) -> None:
        feed = full.record_feed()
        answer = export(full, encrypt=True, password="long pässword", background=True)
        job = full.application.services.get(Jobs).wait(answer.json()["job_id"], 60)

        assert job.status == "succeeded", job.error
        assert "long p" not in json.dumps(job.payload, ensure_ascii=False)
        assert "long p" not in str(feed.events)
        data = full.application.settings.data_dir
        assert list((data / "secrets").iterdir()) == []
        (listed,) = full.client.get("/v1/exports").json()
        assert listed["encrypted"] is True

    def test_without_the_library_there_is_no_archive_at_all(self, tmp_path: Path) -> None:
        """In a process of its own, in which the library cannot be found."""
        script = (
            "import sys; sys.modules['pyzipper'] = None\n"
            "from pathlib import Path\n"
            "from lora_manager_core.errors import ExtraNotInstalled\n"
            "from lora_manager_core.import_export.archive.zip_writer import ZipWriter\n"
            "written = []\n"
            "try:\n"
            f"    ZipWriter(written.append, Path({str(tmp_path)!r}), password='x')\n"
            "except ExtraNotInstalled as error:\n"
            "    sys.exit(0 if 'pip install pyzipper' in error.detail and not written else 1)\n"
            "sys.exit(2)\n"
        )
        assert subprocess.run([sys.executable, "-c", script]).returncode == 0


class TestInTheBackground:
    def _made(self, home: Home, **request: Any) -> dict[str, Any]:
        answer = export(home, background=True, **request)
        assert answer.status_code == 202, answer.text
        job = home.application.services.get(Jobs).wait(answer.json()["job_id"], 60)
        assert job.status == "succeeded", job.error
        assert job.result is not None
        listed: list[dict[str, Any]] = home.client.get("/v1/import-export/exports").json()
        (found,) = [entry for entry in listed if entry["id"] == job.id]
        assert job.result["size"] == found["size"]
        return found

    def test_it_is_downloaded_whole_and_in_parts(self, full: Home) -> None:
        made = self._made(full, **ALL)

        whole = full.client.get(made["url"])
        assert whole.status_code == 200
        assert len(whole.content) == made["size"]
        assert names_in(whole.content) == {"alice", "ink_v2", "Zebra"}
        assert made["file_name"] in whole.headers["content-disposition"]
        rest = full.client.get(
            made["url"], headers={"Range": "bytes=100-", "If-Range": whole.headers["etag"]}
        )
        assert rest.status_code == 206
        assert whole.content[:100] + rest.content == whole.content

    def test_it_can_be_deleted(self, full: Home) -> None:
        made = self._made(full)

        assert full.client.delete(f"/v1/exports/{made['id']}").status_code == 204
        assert full.client.get(made["url"]).json()["code"] == "export_not_found"
        assert full.client.delete(f"/v1/exports/{made['id']}").status_code == 404
        assert full.client.get("/v1/exports").json() == []

    @pytest.mark.parametrize("export_id", ["..", "%2e%2e%2fconfig.toml", "*", "a" * 36])
    def test_an_id_is_no_path(self, full: Home, export_id: str) -> None:
        self._made(full)
        with pytest.raises(ExportNotFound):
            full.application.services.get(ExportService).get(export_id)
        assert full.client.get(f"/v1/exports/{export_id}/file").status_code == 404

    def test_one_that_fails_leaves_nothing(self, full: Home) -> None:
        folder = full.application.settings.data_dir / "exports"
        folder.mkdir()
        (folder / ".unfinished").write_text("in the way")

        answer = export(full, background=True)
        job = full.application.services.get(Jobs).wait(answer.json()["job_id"], 60)

        assert job.status == "failed"
        assert job.error is not None
        assert job.error["code"] == "storage_failed"
        assert full.client.get("/v1/exports").json() == []

    def test_one_that_is_cancelled_leaves_nothing(self, large: Home) -> None:
        jobs = large.application.services.get(Jobs)
        cancelled = threading.Event()

        def _cancel(event: Any) -> None:
            if event.type == STARTED and not cancelled.is_set():
                cancelled.set()
                jobs.cancel(event.job_id)

        large.application.services.get(Feed).subscribe(_cancel)  # type: ignore[type-abstract]
        answer = export(large, background=True)
        job = jobs.wait(answer.json()["job_id"], 60)

        assert job.status == "cancelled"
        folder = large.application.settings.data_dir / "exports"
        assert [path for path in folder.rglob("*") if path.is_file()] == []

    def test_too_little_room_is_said_before_it_begins(
        self, make_home: Callable[..., Home], small_disk: Path
    ) -> None:
        home = make_home(data_dir=small_disk / "data")

        answer = export(home, background=True)

        assert answer.status_code == 507
        assert answer.json()["code"] == "disk_full"
        assert "MiB are free" in answer.json()["detail"]

    def test_a_start_removes_what_a_dead_process_left(self, full: Home) -> None:
        unfinished = full.application.settings.data_dir / "exports" / ".unfinished"
        unfinished.mkdir(parents=True)
        (unfinished / "gone.part").write_bytes(b"half")

        full.application.services.get(ExportService).remove_leftovers()

        assert list(unfinished.iterdir()) == []


class TestEstimating:
    def _estimate(self, home: Home, **request: Any) -> dict[str, Any]:
        answer = export(home, "/v1/import-export/export/estimate", **request)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    @pytest.mark.parametrize(
        "request_",
        [
            pytest.param({}, id="adapters"),
            pytest.param({"lora_files": False}, id="without models"),
            pytest.param({"previews": False, "lora_metadata": False}, id="models alone"),
            pytest.param(ALL, id="everything"),
            pytest.param({"filter": {"folder": "styles"}}, id="some"),
            pytest.param({"compression": "none"}, id="not compressed"),
        ],
    )
    def test_it_is_near_the_truth(self, large: Home, request_: dict[str, Any]) -> None:
        told = self._estimate(large, **request_)

        size = len(export(large, **request_).content)
        assert abs(told["size_bytes"] - size) < 0.1 * size + 3000
        assert told["size"].endswith((" kB", " MB"))

    def test_it_counts_files_that_are_gone(self, full: Home) -> None:
        (full.library / "characters" / "alice.safetensors").unlink()
        full.scan()

        told = self._estimate(full)

        assert (told["adapters"], told["model_files"], told["missing_files"]) == (3, 2, 1)

    def test_it_follows_every_change(self, full: Home) -> None:
        before = self._estimate(full, filter={"favorite": True})
        alice = full.adapter("alice")["id"]
        full.client.patch(f"/v1/adapters/{alice}", json={"favorite": True})

        after = self._estimate(full, filter={"favorite": True})

        assert (before["adapters"], after["adapters"]) == (0, 1)

    def test_its_duration_is_measured_or_not_told(self, large: Home) -> None:
        assert self._estimate(large)["duration_s"] is None
        assert self._estimate(large)["time"] == "not measured yet"

        export(large)

        told = self._estimate(large)
        assert told["duration_s"] > 0
        assert told["time"] == "less than a second"

    def test_jobs_are_measured_too(self, large: Home) -> None:
        answer = export(large, background=True)
        assert large.application.services.get(Jobs).wait(answer.json()["job_id"], 60).result

        assert self._estimate(large)["duration_s"] > 0
