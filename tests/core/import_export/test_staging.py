"""Files that take their places all or none: published, undone, and stopped at every single step."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lora_manager_core.common.file_journal import Disk
from lora_manager_core.errors import DiskFull, LibraryChanged, StorageFailed, UnsafePath
from lora_manager_core.import_export.imports.staging import (
    STAGING_FOLDER,
    StagedFiles,
    recover_staged,
    undo_earlier,
)
from tests.fakes.stopping_disk import CaseBlindDisk, Killed, StoppingDisk

JOB = "7d1c5a0e-0000-4000-8000-000000000001"
#: More steps than any of the things below takes.
_MOST_STEPS = 30


def test_the_steps_below_are_all_of_them(journals, root):
    assert 10 < _steps_of(journals, root, _publish, StagedFiles.undo) < _MOST_STEPS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "loras"
    (folder / "styles").mkdir(parents=True)
    (folder / "styles" / "ink.safetensors").write_bytes(b"old ink")
    (folder / "kept.safetensors").write_bytes(b"kept")
    return folder


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    return tmp_path / "journals"


def _tree(root: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def _stage(journals: Path, root: Path, disk: Disk | None = None) -> StagedFiles:
    """A file that replaces another, one in new folders, and one beside what is there."""
    staged = StagedFiles(journals, JOB, [root], disk)
    for name, content, replace in (
        ("styles/ink.safetensors", b"new ink", True),
        ("new/deep/alice.safetensors", b"alice", False),
        ("styles/bob.safetensors", b"bob", False),
    ):
        path = staged.new(root / name)
        path.write_bytes(content)
        staged.add(path, root / name, mtime_ns=1_600_000_000_000_000_000, replace=replace)
    return staged


_NEW = {
    "styles": None,
    "styles/ink.safetensors": b"new ink",
    "styles/bob.safetensors": b"bob",
    "kept.safetensors": b"kept",
    "new": None,
    "new/deep": None,
    "new/deep/alice.safetensors": b"alice",
}


def _clean(journals: Path) -> bool:
    return not list(journals.glob("*.json"))


class TestPublishing:
    def test_moves_every_file_to_its_place_with_its_time(self, journals, root):
        staged = _stage(journals, root)
        staged.publish()
        staged.finish()
        assert _tree(root) == _NEW
        alice = root / "new" / "deep" / "alice.safetensors"
        assert alice.stat().st_mtime_ns == 1_600_000_000_000_000_000
        assert _clean(journals)

    def test_nothing_is_seen_before(self, journals, root):
        before = _tree(root)
        _stage(journals, root)
        seen = {name: what for name, what in _tree(root).items() if STAGING_FOLDER not in name}
        assert seen == before

    def test_again_does_no_harm(self, journals, root):
        staged = _stage(journals, root)
        staged.publish()
        staged.publish()
        staged.finish()
        staged.finish()
        staged.undo()
        assert _tree(root) == _NEW

    def test_undone_after_it(self, journals, root):
        before = _tree(root)
        staged = _stage(journals, root)
        staged.publish()
        staged.undo()
        staged.undo()
        assert _tree(root) == before
        assert _clean(journals)

    def test_undone_before_it(self, journals, root):
        before = _tree(root)
        staged = _stage(journals, root)
        staged.undo()
        staged.publish()
        assert _tree(root) == before
        assert _clean(journals)

    def test_without_files_does_nothing(self, journals, root):
        before = _tree(root)
        staged = StagedFiles(journals, JOB, [root])
        staged.publish()
        staged.finish()
        assert _tree(root) == before
        assert not journals.exists()

    def test_what_appeared_meanwhile_is_not_overwritten(self, journals, root):
        staged = _stage(journals, root)
        (root / "styles" / "bob.safetensors").write_bytes(b"somebody else's")
        before = {name: what for name, what in _tree(root).items() if STAGING_FOLDER not in name}
        with pytest.raises(LibraryChanged, match=r"bob\.safetensors"):
            staged.publish()
        assert _tree(root) == before

    def test_two_files_of_one_name_are_refused(self, journals, root):
        before = _tree(root)
        staged = StagedFiles(journals, JOB, [root])
        for content in (b"1", b"2"):
            path = staged.new(root / "one.safetensors")
            path.write_bytes(content)
            staged.add(path, root / "one.safetensors")
        with pytest.raises(LibraryChanged):
            staged.publish()
        assert _tree(root) == before

    def test_a_folder_of_that_name_is_not_replaced(self, journals, root):
        staged = StagedFiles(journals, JOB, [root])
        path = staged.new(root / "styles")
        path.write_bytes(b"x")
        staged.add(path, root / "styles", replace=True)
        with pytest.raises(LibraryChanged):
            staged.publish()
        assert (root / "styles" / "ink.safetensors").read_bytes() == b"old ink"

    def test_a_folder_that_appeared_is_used(self, journals, root):
        staged = _stage(journals, root)
        (root / "new").mkdir()
        staged.publish()
        staged.undo()
        assert (root / "new").is_dir()
        assert list((root / "new").iterdir()) == []

    def test_a_root_that_is_not_there_yet_is_made(self, journals, tmp_path):
        staged = StagedFiles(journals, JOB, [tmp_path / "later"])
        path = staged.new(tmp_path / "later" / "a.safetensors")
        path.write_bytes(b"a")
        staged.add(path, tmp_path / "later" / "a.safetensors")
        staged.publish()
        staged.finish()
        assert _tree(tmp_path / "later") == {"a.safetensors": b"a"}

    def test_and_removed_again_if_nothing_came_of_it(self, journals, tmp_path):
        staged = StagedFiles(journals, JOB, [tmp_path / "later" / "loras"])
        staged.new(tmp_path / "later" / "loras" / "a.safetensors").write_bytes(b"a")
        staged.undo()
        assert not (tmp_path / "later").exists()

    def test_a_change_of_case_only_can_be_undone(self, journals, root):
        before = _tree(root)
        disk = CaseBlindDisk()
        staged = StagedFiles(journals, JOB, [root], disk)
        path = staged.new(root / "KEPT.safetensors")
        path.write_bytes(b"new")
        staged.add(path, root / "KEPT.safetensors", replace=True)
        staged.publish()
        assert (root / "KEPT.safetensors").read_bytes() == b"new"
        assert not (root / "kept.safetensors").exists()
        staged.undo()
        assert _tree(root) == before


class TestRefusing:
    def test_a_place_outside_the_roots(self, journals, root, tmp_path):
        staged = StagedFiles(journals, JOB, [root])
        with pytest.raises(UnsafePath):
            staged.new(tmp_path / "elsewhere" / "a.safetensors")
        assert not (tmp_path / "elsewhere").exists()

    def test_a_link_that_appeared_and_leads_outside(self, journals, root, tmp_path):
        staged = _stage(journals, root)
        (tmp_path / "outside").mkdir()
        (root / "new").symlink_to(tmp_path / "outside")
        with pytest.raises(UnsafePath):
            staged.publish()
        assert list((tmp_path / "outside").iterdir()) == []
        assert (root / "styles" / "ink.safetensors").read_bytes() == b"old ink"
        assert _clean(journals)

    @pytest.mark.parametrize(
        ("failure", "told"),
        [
            pytest.param(PermissionError(errno.EACCES, "in use"), StorageFailed, id="in use"),
            pytest.param(OSError(errno.ENOSPC, "full"), DiskFull, id="disk full"),
        ],
    )
    def test_a_file_that_cannot_be_moved_leaves_all_as_it_was(self, journals, root, failure, told):
        before = _tree(root)
        steps = _steps_of(journals, root, _publish) - _steps_of(journals, root)
        for step in range(steps):
            staged = _stage(journals, root, disk := StoppingDisk(None))
            disk.stop_after(step, failure)
            with pytest.raises(told, match="loras|journals"):
                staged.publish()
            assert _tree(root) == before
            assert _clean(journals)

    def test_a_full_disk_is_told_while_staging(self, journals, small_disk):
        staged = StagedFiles(journals, JOB, [small_disk])
        staged.new(small_disk / "a.safetensors")
        (small_disk / "filler").write_bytes(b"x" * 60_000)
        staged.undo()
        assert _tree(small_disk) == {"filler": b"x" * 60_000}


class TestKilled:
    """At every step: one start later there is exactly the old tree, or exactly the new one."""

    @pytest.mark.parametrize("steps", range(_MOST_STEPS))
    def test_while_publishing(self, journals, root, steps):
        before = _tree(root)
        done = _until_killed(StoppingDisk(steps), journals, root, _publish)
        recover_staged(journals, lambda _job: "over")
        assert _tree(root) == before
        assert _clean(journals)
        assert done is (steps >= _steps_of(journals, root, _publish))

    @pytest.mark.parametrize("steps", range(_MOST_STEPS))
    def test_while_undoing(self, journals, root, steps):
        before = _tree(root)
        _until_killed(StoppingDisk(steps), journals, root, _publish, StagedFiles.undo)
        undo_earlier(journals, JOB)
        assert _tree(root) == before
        assert _clean(journals)

    @pytest.mark.parametrize("steps", range(_MOST_STEPS))
    def test_while_finishing(self, journals, root, steps):
        staged = _stage(journals, root, disk := StoppingDisk(None))
        staged.publish()
        disk.stop_after(steps, Killed())
        try:
            staged.finish()
        except Killed:
            recover_staged(journals, lambda _job: "succeeded")
        assert _tree(root) == _NEW
        assert _clean(journals)

    @pytest.mark.parametrize("steps", range(_MOST_STEPS))
    def test_while_an_earlier_kill_is_dealt_with(self, journals, root, steps):
        before = _tree(root)
        _stage(journals, root).publish()
        try:
            recover_staged(journals, lambda _job: "over", StoppingDisk(steps))
        except Killed:
            recover_staged(journals, lambda _job: "over")
        assert _tree(root) == before
        assert _clean(journals)


class TestRecovering:
    def test_leaves_what_somebody_may_be_at(self, journals, root):
        staged = _stage(journals, root)
        staged.publish()
        recover_staged(journals, lambda _job: "alive")
        staged.finish()
        assert _tree(root) == _NEW

    def test_without_journals_does_nothing(self, journals):
        recover_staged(journals, lambda _job: "over")
        assert not journals.exists()

    def test_a_damaged_journal_does_not_stop_the_start(self, journals, root, caplog):
        journals.mkdir()
        (journals / f"{JOB}.json").write_text("{")
        recover_staged(journals, lambda _job: "over")
        assert "cannot be read" in caplog.text

    def test_what_took_the_old_files_place_is_left_and_the_old_one_kept(self, journals, root):
        staged = _stage(journals, root)
        staged.publish()
        ink = root / "styles" / "ink.safetensors"
        hidden = next(root.glob(f"{STAGING_FOLDER}/{JOB}"))
        ink.rename(hidden / "1.part")  # killed in the middle of an undo, and then
        ink.write_bytes(b"somebody else's")
        recover_staged(journals, lambda _job: "over")
        assert ink.read_bytes() == b"somebody else's"
        with pytest.raises(StorageFailed):
            undo_earlier(journals, JOB)
        ink.unlink()
        undo_earlier(journals, JOB)
        assert ink.read_bytes() == b"old ink"

    def test_an_attempt_after_another_begins_anew(self, journals, root):
        _stage(journals, root).publish()
        undo_earlier(journals, JOB)
        staged = _stage(journals, root)
        staged.publish()
        staged.finish()
        assert _tree(root) == _NEW


def _publish(staged: StagedFiles) -> None:
    staged.publish()


def _until_killed(disk: StoppingDisk, journals: Path, root: Path, *acts) -> bool:
    """Stage on a whole disk of that many steps, then act; whether it came to the end."""
    try:
        staged = _stage(journals, root, disk)
        for act in acts:
            act(staged)
    except Killed:
        return False
    return True


def _steps_of(journals: Path, root: Path, *acts) -> int:
    disk = StoppingDisk(None)
    _until_killed(disk, journals, root, *acts)
    undo_earlier(journals, JOB)
    return disk.steps
