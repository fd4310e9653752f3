"""Deliveries into the outbox: a whole file or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_manager_core.deliveries.file_mode import FileMode
from lora_manager_core.errors import Unprocessable
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import JobContext, JobOutcome
from lora_manager_core.queueing.runner import JobRunner


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class _Asked(JobContext):
    """A job that nobody cancels."""

    job_id = "7d1c"
    payload = {"prompt": "a fox", "params": {"template": "{prompt}"}}

    def report(self, progress):
        """Nobody listens."""

    def is_cancelled(self):
        return False


class TestWriting:
    def test_gives_a_file_named_after_the_delivery(self, desk):
        sent = desk.send("cli", "a fox «in» snow\n")
        done = desk.end_of(sent)
        path = desk.outbox / f"{sent}.txt"
        assert done.result == {
            "status": "delivered",
            "detail": f"The prompt was written to {sent}.txt in the outbox.",
            "file_path": str(path),
        }
        assert path.read_bytes() == "a fox «in» snow\n".encode()
        assert _files(desk.outbox) == [f"{sent}.txt"]

    def test_replaces_the_place_in_the_template_and_nothing_else(self, desk):
        template = "{0} {prompt.__class__} {{prompt}} $prompt %s\n{prompt}"
        done = desk.end_of(desk.send("cli", "{prompt} \\1 {x}", template=template))
        written = Path(done.result["file_path"]).read_text(encoding="utf-8")
        assert written == ("{0} {prompt.__class__} {{prompt} \\1 {x}} $prompt %s\n{prompt} \\1 {x}")
        assert done.params == {"template": template}


class TestParameters:
    @pytest.mark.parametrize(
        "params",
        [
            pytest.param({"template": 7}, id="template of another type"),
            pytest.param({"template": "x" * 100_001}, id="huge template"),
            pytest.param({"template": "\ud800{prompt}"}, id="half a character"),
            pytest.param({"filename": "../x"}, id="a file name"),
        ],
    )
    def test_that_do_not_fit_are_refused_at_once(self, desk, params):
        with pytest.raises(Unprocessable) as refused:
            desk.send("cli", **params)
        assert refused.value.extra["errors"][0]["loc"][0] == "params"

    def test_without_a_place_for_the_prompt_are_refused(self, desk):
        with pytest.raises(Unprocessable, match="prompt would be lost"):
            desk.send("cli", template="{ prompt }")

    def test_that_would_make_a_huge_text_are_refused(self, desk):
        with pytest.raises(Unprocessable, match="1,100,000 characters"):
            desk.send("cli", "x" * 100_000, template="{prompt}" * 11)


class TestAFolderThatCannotBeWritten:
    def test_fails_the_delivery_and_says_which(self, make_desk, tmp_path):
        (tmp_path / "outbox").write_text("a file where the folder should be")
        desk = make_desk(outbox=tmp_path / "outbox")
        done = desk.end_of(desk.send("cli"))
        assert (done.status, done.error_code, len(done.attempts)) == (
            "failed",
            "delivery_failed",
            1,
        )
        assert str(tmp_path / "outbox") in done.error
        assert "LORA_MANAGER_OUTBOX_DIR" in done.error

    @pytest.mark.parametrize("room", [0, 8], ids=["no room at all", "room for a part"])
    def test_because_its_disk_is_full_leaves_nothing(self, make_desk, small_disk, room):
        (small_disk / "filler").write_bytes(b"x" * ((64 - room) * 1024))
        desk = make_desk(outbox=small_disk)
        done = desk.end_of(desk.send("cli", "x" * 50_000))
        assert (done.status, done.error_code) == ("failed", "delivery_failed")
        assert "disk of the outbox is full" in done.error
        assert _files(small_disk) == ["filler"]
        (small_disk / "filler").unlink()
        again = desk.end_of(desk.service.retry(done.id))
        assert _files(small_disk) == [f"{again.id}.txt"]


class TestCancelling:
    def test_takes_the_file_back(self, database, tmp_path):
        outbox = tmp_path / "outbox"
        outcome = FileMode(JobRunner(database, MemoryFeed()), outbox).run(_Asked())
        assert isinstance(outcome, JobOutcome)
        assert outcome.undo is not None
        assert _files(outbox) == ["7d1c.txt"]
        outcome.undo()
        assert _files(outbox) == []
