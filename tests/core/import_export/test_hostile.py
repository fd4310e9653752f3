"""The corpus of hostile archives against the reader: each is refused, for its reason, in time."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pyzipper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.archive.format import (
    HASHES,
    MANIFEST,
    file_member,
    record_member,
    table_member,
)
from lora_manager_core.import_export.archive.reader import open_archive
from lora_manager_core.import_export.archive.tables import TABLES
from tests.fakes.hostile_archives import Hostile, hostile_archives
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    dump,
    folder_members,
    lora_api_members,
    model,
    own_members,
    sealed,
    write_zip,
)

HOSTILE = hostile_archives()
MAKERS = ("own", "lora-api", "folder", "encrypted")
PASSWORD = "secret"


def _nobody(_: int) -> None:
    """Is told of bytes."""


def _read_all(archive: Archive, seen: str = "contents") -> None:
    """Everything that an import reads, up to where `seen` says."""
    list(archive.adapters())
    if seen == "records":
        return
    for table in archive.tables():
        list(archive.rows(table))
    archive.pictures()
    if seen == "rows":
        return
    archive.verify(_nobody)


def _meet(hostile: Hostile, path: Path) -> None:
    """Read it as far as it may come."""
    with open_archive(path, hostile.password) as archive:
        assert hostile.seen != "open", "was opened"
        _read_all(archive, hostile.seen)


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [hostile.name for hostile in HOSTILE]
    assert len(set(names)) == len(names) >= 80


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_each_is_refused_for_its_reason(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a payload would write
    path = tmp_path / "hostile.zip"
    hostile.build(path)
    with pytest.raises(ArchiveRefused) as refused:
        _meet(hostile, path)
    assert hostile.reason in refused.value.detail
    assert str(tmp_path) not in refused.value.detail
    assert refused.value.detail.isprintable()
    assert [left.name for left in tmp_path.iterdir()] == ["hostile.zip"]


@pytest.mark.parametrize(
    "hostile",
    [hostile for hostile in HOSTILE if hostile.seen == "contents"],
    ids=lambda hostile: hostile.name,
)
def test_a_member_that_is_refused_leaves_no_copy(hostile: Hostile, tmp_path: Path) -> None:
    path = tmp_path / "hostile.zip"
    hostile.build(path)
    with open_archive(path, hostile.password) as archive:
        refused = 0
        for record in archive.adapters():
            for number, file in enumerate(record.files):
                target = tmp_path / f"{number}.part"
                try:
                    archive.copy(file.member, target, _nobody)
                except ArchiveRefused:
                    refused += 1
                    assert not target.exists()
                else:
                    assert target.stat().st_size == file.size
                    target.unlink()
    assert refused == 1


@pytest.mark.parametrize(
    "hostile",
    [hostile for hostile in HOSTILE if hostile.name.startswith(("bomb", "model", "manifest: d"))],
    ids=lambda hostile: hostile.name,
)
def test_none_takes_much_memory(hostile: Hostile, tmp_path: Path) -> None:
    path = tmp_path / "hostile.zip"
    hostile.build(path)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveRefused), open_archive(path, hostile.password) as archive:
            _read_all(archive)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20


@pytest.mark.parametrize("maker", MAKERS)
def test_an_archive_that_is_cut_off_anywhere_is_refused(maker: str, tmp_path: Path) -> None:
    path = _valid(tmp_path, maker)
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 1000), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveRefused):
            open_archive(path, PASSWORD).close()


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A whole archive of each maker."""
    folder = tmp_path_factory.mktemp("valid")
    return {maker: _valid(folder, maker).read_bytes() for maker in MAKERS}


_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("flip", "cut", "insert", "repeat", "swap")),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
        st.integers(1, 400),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("maker", MAKERS)
@given(changes=_CHANGES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_to_an_archive_it_is_read_or_refused(
    maker: str, changes: list[Any], valid: dict[str, bytes], tmp_path_factory: Any
) -> None:
    content = bytearray(valid[maker])
    for kind, where, value, length in changes:
        place = int(where * len(content))
        if kind == "flip" and content:
            content[place] ^= value or 1
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "insert":
            content[place:place] = bytes([value]) * length
        elif kind == "repeat":
            content[place:place] = content[place : place + length]
        else:
            content[place : place + 2] = content[place : place + 2][::-1]
    folder = tmp_path_factory.mktemp("changed")
    path = folder / "changed.zip"
    path.write_bytes(content)
    with suppress(ArchiveRefused), open_archive(path, PASSWORD) as archive:
        _read_all(archive)
    assert [left.name for left in folder.iterdir()] == ["changed.zip"]


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(("..", "../x", "/etc/passwd", "C:\\x", "a\0", "x" * 600, MANIFEST)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    "changed",
    [
        MANIFEST,
        HASHES,
        record_member(ADAPTER_ID),
        *(table_member(table.name) for table in TABLES),
        f"adapters/{ADAPTER_ID}/metadata.json",
        "manifest of LoraAPIBackend",
    ],
)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_document_says_it_is_taken_or_refused(
    changed: str, data: st.DataObject, tmp_path_factory: Any
) -> None:
    foreign = changed.endswith(("metadata.json", "Backend"))
    members = lora_api_members() if foreign else own_members()
    member = MANIFEST if foreign and changed not in members else changed
    if changed in (MANIFEST, HASHES):
        members = sealed(members)
    document = json.loads(members[member])
    for _ in range(data.draw(st.integers(1, 3))):
        document = _changed(document, data)
    members[member] = dump(document)
    if not foreign and changed not in (MANIFEST, HASHES):
        members = sealed(members)
    path = write_zip(tmp_path_factory.mktemp("changed") / "changed.zip", members)
    with suppress(ArchiveRefused), open_archive(path) as archive:
        _read_all(archive)


def _changed(document: Any, data: st.DataObject) -> Any:
    """The same with one value, somewhere in it, of any other kind."""
    if isinstance(document, dict) and document and data.draw(st.integers(0, 9)):
        name = data.draw(st.sampled_from(sorted(document)))
        return {**document, name: _changed(document[name], data)}
    if isinstance(document, list) and document and data.draw(st.integers(0, 9)):
        place = data.draw(st.integers(0, len(document) - 1))
        return [*document[:place], _changed(document[place], data), *document[place + 1 :]]
    return data.draw(_JSON)


def _valid(folder: Path, maker: str) -> Path:
    """A whole archive, large enough to be cut at many places."""
    path = folder / f"{maker}.zip"
    large = model(width=6000)
    if maker == "encrypted":
        with pyzipper.AESZipFile(path, "w", encryption=pyzipper.WZ_AES) as made:
            made.setpassword(PASSWORD.encode())
            for name, content in sealed(own_members()).items():
                made.writestr(name, content)
        return path
    members = {
        "own": lambda: sealed({**own_members(), file_member(ADAPTER_ID, "ink.safetensors"): large}),
        "lora-api": lambda: lora_api_members(content=large),
        "folder": lambda: {**folder_members(), "large.safetensors": large},
    }
    return write_zip(path, members[maker]())
