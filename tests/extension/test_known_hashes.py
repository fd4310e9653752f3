"""Which hashes of the host's cache count for a file, and which do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.library.hashing.digest import FileHashes
from lora_manager_core.library.hashing.known import HashableFile
from lora_manager_ext.known_hashes import HostHashes

WHOLE, TENSORS = "ab" * 32, "cd" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A LoRA file of the host."""
    path = tmp_path / "ink.v2.safetensors"
    path.write_bytes(b"tensors")
    return path


def _known(
    path: Path, stores: dict[str, Any], alone: bool = True, keeps: bool = True
) -> FileHashes | None:
    # as it comes back from the host's file
    stored = json.loads(json.dumps(stores))
    status = path.stat()
    file = HashableFile(str(path), status.st_size, status.st_mtime_ns)
    hashes = HostHashes(lambda name: stored.get(name, {}), lambda _: alone, lambda: keeps)
    return hashes.known([file]).get(str(path))


def _stores(path: Path, **changes: Any) -> dict[str, Any]:
    mtime = path.stat().st_mtime
    whole = {"mtime": mtime, "sha256": WHOLE.upper(), **changes}
    tensors = {"mtime": mtime, "sha256": TENSORS}
    title = "lora/" + path.stem.replace(".", "_")
    return {"hashes": {title: whole}, "hashes-addnet": {title: tensors}}


def test_count_where_they_are_of_this_very_file(path: Path) -> None:
    assert _known(path, _stores(path)) == FileHashes(WHOLE, TENSORS)


def test_of_other_formats_the_whole_file_is_enough(path: Path) -> None:
    pickle = path.rename(path.with_suffix(".pt"))
    stores = _stores(pickle)
    del stores["hashes-addnet"]
    assert _known(pickle, stores) == FileHashes(WHOLE, None)


@pytest.mark.parametrize("shift", [-1.0, 1.0, 1e-6], ids=["older", "newer", "a little newer"])
def test_of_another_time_stamp_do_not_count(path: Path, shift: float) -> None:
    assert _known(path, _stores(path, mtime=path.stat().st_mtime + shift)) is None


@pytest.mark.parametrize("text", ["", None, "ab" * 5, "zz" * 32])
def test_that_are_no_hashes_do_not_count(path: Path, text: str | None) -> None:
    assert _known(path, _stores(path, sha256=text)) is None


def test_half_of_them_is_none(path: Path) -> None:
    for store in ("hashes", "hashes-addnet"):
        stores = _stores(path)
        del stores[store]
        assert _known(path, stores) is None


def test_of_a_name_that_several_files_have_do_not_count(path: Path) -> None:
    assert _known(path, _stores(path), alone=False) is None


def test_that_may_only_be_promised_do_not_count(path: Path) -> None:
    assert _known(path, _stores(path), keeps=False) is None
