"""What an archive holds, member by member, against the library it was made of."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pyzipper
from sqlalchemy import select

from lora_manager_core.db.models import Adapter, Base
from lora_manager_core.errors import StorageFailed
from lora_manager_core.import_export.archive.format import DATABASE, HASHES, MANIFEST, SETTINGS
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS, TABLES
from lora_manager_core.import_export.archive.zip_writer import PIECE_BYTES
from lora_manager_core.import_export.exports.archive_writer import ArchiveWriter, Written
from lora_manager_core.import_export.exports.choice import Choice
from lora_manager_core.import_export.schemas import Contents
from tests.core.conftest import Home
from tests.fakes.full_library import NEW, add_people_data, add_side_files
from tests.fakes.lora_files import touch_later, write_lora

EVERYTHING = Contents(generations=True, user_data=True, system_config=True, analytics=True)
SEVEN_ZIP = shutil.which("7zz") or shutil.which("7z")


@dataclass
class Opened:
    """An archive in memory, its members and its manifest."""

    zip: Any
    written: Written

    @property
    def names(self) -> list[str]:
        return list(self.zip.namelist())

    def json(self, name: str) -> Any:
        return json.loads(self.zip.read(name))

    def rows(self, table: str) -> list[dict[str, Any]]:
        lines = self.zip.read(f"tables/{table}.jsonl").decode().splitlines()
        return [json.loads(line) for line in lines]

    def records(self) -> dict[str, dict[str, Any]]:
        records = [self.json(name) for name in self.names if name.endswith("/record.json")]
        return {record["adapter"]["name"]: record for record in records}

    def hashes(self) -> Mapping[str, str]:
        """As the manifest and the last member tell."""
        listed = self.json(MANIFEST)["members"]
        told = {member["name"]: member["sha256"] for member in listed}
        return {**told, **self.json(HASHES)["members"]}


@pytest.fixture
def full(home: Home) -> Home:
    """A library with everything an archive can hold."""
    add_side_files(home.library)
    home.scan()
    alice = home.adapter("alice")["id"]
    changes = {"notes": "from Ünna, with “love”", "rating": 5, "tags": ["ink"], "weight": 0.7}
    assert home.client.patch(f"/v1/adapters/{alice}", json=changes).status_code == 200
    add_people_data(home.application.database, home.application.settings.outputs, alice)
    return home


def write(home: Home, choice: Choice, password: str | None = None) -> Opened:
    target = io.BytesIO()
    written = home.application.services.get(ArchiveWriter).write(choice, target, None, password)
    if password is None:
        return Opened(zipfile.ZipFile(target), written)
    archive = pyzipper.AESZipFile(target)
    archive.setpassword(password.encode())
    return Opened(archive, written)


def files_of(record: dict[str, Any]) -> dict[str, str]:
    return {file["name"]: file["kind"] for file in record["files"]}


class TestWhatIsInIt:
    def test_the_manifest_comes_first_and_tells_the_truth(self, full: Home) -> None:
        archive = write(full, Choice(EVERYTHING))

        assert archive.zip.testzip() is None
        assert archive.names[0] == MANIFEST
        assert archive.names[-1] == HASHES
        listed = archive.json(MANIFEST)["members"]
        assert [member["name"] for member in listed] == archive.names[1:-1]
        assert len(set(archive.names)) == len(archive.names)
        hashes = archive.hashes()
        for member in listed:
            content = archive.zip.read(member["name"])
            assert len(content) == member["size"]
            assert hashlib.sha256(content).hexdigest() == hashes[member["name"]]

    def test_models_and_pictures_are_stored_and_texts_are_deflated(self, full: Home) -> None:
        archive = write(full, Choice(EVERYTHING))

        for info in archive.zip.infolist():
            stored = "/files/" in info.filename or info.filename.startswith("pictures/")
            assert (info.compress_type == zipfile.ZIP_STORED) == stored, info.filename

    def test_every_column_of_a_record_is_in_it(self, full: Home) -> None:
        archive = write(full, Choice(EVERYTHING))

        records = archive.records()
        with full.application.database.read() as session:
            for adapter in session.scalars(select(Adapter)):
                columns = {name: getattr(adapter, name) for name in RECORD_COLUMNS}
                assert records[adapter.name]["adapter"] == columns

    def test_every_row_and_column_of_the_tables_is_in_it(self, full: Home) -> None:
        archive = write(full, Choice(EVERYTHING, with_paths=True))

        manifest = archive.json(MANIFEST)
        with full.application.database.read() as session:
            for table in TABLES:
                query = select(*(table.table.c[name] for name in table.columns))
                if table.where is not None:
                    query = query.where(table.where)
                if table.name == "job_attempts":
                    query = query.where(table.table.c.job_id.startswith("job-"))
                stored = [dict(row) for row in session.execute(query).mappings()]
                rows = archive.rows(table.name)
                assert stored, f"the test library has no row in {table.name}; add one"
                assert sorted(rows, key=str) == sorted(stored, key=str)
                assert manifest["counts"][table.name] == len(rows)

    def test_files_lie_with_their_adapter(self, full: Home) -> None:
        archive = write(full, Choice(Contents()))

        alice = archive.records()["alice"]
        assert files_of(alice) == {
            "alice.safetensors": "model",
            "alice.json": "side",
            "alice.jpg": "preview",
            "alice.preview.png": "preview",
        }
        assert alice["location"] == {"folder": "characters", "file_name": "alice.safetensors"}
        for file in alice["files"]:
            path = full.library / "characters" / file["name"]
            assert archive.zip.read(file["member"]) == path.read_bytes()
            assert file["mtime_ns"] == path.stat().st_mtime_ns

    def test_a_picture_inside_the_model_is_no_file_of_its_own(self, full: Home) -> None:
        inside = {"modelspec.thumbnail": "data:image/png;base64,AA=="}
        write_lora(full.library / "own.safetensors", inside, seed=7)
        full.scan()
        assert full.adapter("own")["preview_url"] is not None
        record = write(full, Choice(Contents())).records()["own"]
        assert files_of(record) == {"own.safetensors": "model"}

    @pytest.mark.parametrize(
        ("contents", "kinds"),
        [
            pytest.param({"lora_files": False}, {"side", "preview"}, id="no models"),
            pytest.param({"lora_metadata": False}, {"model", "preview"}, id="no side files"),
            pytest.param({"previews": False}, {"model", "side"}, id="no previews"),
        ],
    )
    def test_kinds_of_files_can_be_left_out(
        self, full: Home, contents: dict[str, bool], kinds: set[str]
    ) -> None:
        archive = write(full, Choice(Contents(**contents)))

        assert set(files_of(archive.records()["alice"]).values()) == kinds

    def test_model_files_can_be_limited(self, full: Home) -> None:
        key = full.adapter("alice")["file_path"]
        archive = write(full, Choice(Contents(), only_files=frozenset((os.path.normcase(key),))))

        models = {
            name
            for name, record in archive.records().items()
            if "model" in files_of(record).values()
        }
        assert models == {"alice"}

    def test_adapters_can_be_chosen(self, full: Home) -> None:
        chosen = [full.adapter("Zebra")["id"]]

        assert set(write(full, Choice(Contents(), adapter_ids=chosen)).records()) == {"Zebra"}

    def test_paths_are_told_only_where_they_are_asked_for(self, full: Home) -> None:
        plain = write(full, Choice(EVERYTHING))
        told = write(full, Choice(EVERYTHING, with_paths=True))

        location = told.records()["alice"]["location"]
        assert location["file_path"] == full.adapter("alice")["file_path"]
        assert "file_path" in told.rows("result_images")[0]
        assert "file_path" not in plain.records()["alice"]["location"]
        assert "file_path" not in plain.rows("result_images")[0]
        for name in ("record.json", "result_images.jsonl", MANIFEST, SETTINGS):
            for member in plain.names:
                if member.endswith(name) and name != SETTINGS:
                    assert str(full.library).encode() not in plain.zip.read(member), member

    def test_dates_limit_results_with_all_that_belongs_to_them(self, full: Home) -> None:
        contents = Contents(generations=True, generation_range="date_range", date_from="2025-01-01")
        archive = write(full, Choice(contents))

        assert {row["id"] for row in archive.rows("jobs")} == {"job-1", "delivery-0"}
        assert {row["job_id"] for row in archive.rows("results")} == {"job-1"}
        assert {row["job_id"] for row in archive.rows("job_attempts")} == {"job-1"}
        assert [name for name in archive.names if name.startswith("pictures/")] == [
            "pictures/job-1/0.png"
        ]

    def test_a_last_day_is_included(self, full: Home) -> None:
        contents = Contents(
            generations=True, generation_range="date_range", date_to=NEW[:10], pictures=False
        )

        archive = write(full, Choice(contents))

        assert len(archive.rows("results")) == 2
        assert not [name for name in archive.names if name.startswith("pictures/")]

    def test_settings_have_no_secrets(self, make_home: Callable[..., Home]) -> None:
        home = make_home(
            api_key="very secret key",
            sdnext_user="somebody",
            sdnext_password="letmein!",
            sdnext_url="http://other:hidden@127.0.0.1:1",
        )
        archive = write(home, Choice(Contents(loras=False, system_config=True)))

        settings = archive.json(SETTINGS)
        assert settings["import_path"]
        text = archive.zip.read(SETTINGS).decode() + archive.zip.read(MANIFEST).decode()
        for secret in ("very secret key", "somebody", "letmein!", "hidden", "database_url"):
            assert secret not in text


class TestDatabaseCopy:
    def test_it_is_whole_and_the_rows_are_its_own(self, full: Home, tmp_path: Path) -> None:
        if not full.application.database.is_sqlite:
            archive = write(full, Choice(EVERYTHING, with_database=True))
            assert DATABASE not in archive.names
            return
        archive = write(full, Choice(EVERYTHING, with_database=True))
        copy = tmp_path / "copy.sqlite3"
        copy.write_bytes(archive.zip.read(DATABASE))

        database = sqlite3.connect(copy)
        try:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            for table in Base.metadata.tables:
                count = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                if table in ("choices", "results"):
                    assert count == len(archive.rows(table))
        finally:
            database.close()
        assert archive.hashes()[DATABASE] == hashlib.sha256(copy.read_bytes()).hexdigest()
        assert not list((full.application.settings.data_dir / "unfinished").iterdir())


class TestWhatStaysOut:
    def _left_out(self, home: Home, contents: Contents | None = None) -> dict[str, str]:
        archive = write(home, Choice(contents or Contents()))
        listed = archive.json(MANIFEST)["left_out"]
        assert archive.written.left_out_count == len(listed)
        assert [left.name for left in archive.written.left_out] == [e["name"] for e in listed]
        return {entry["name"]: entry["reason"] for entry in listed}

    def test_nothing_where_all_is_there(self, full: Home) -> None:
        assert self._left_out(full, EVERYTHING) == {}

    def test_a_file_that_is_gone(self, full: Home) -> None:
        (full.library / "characters" / "alice.safetensors").unlink()
        (full.library / "styles" / "Zebra.txt").unlink()

        left = self._left_out(full)

        assert left == {
            "alice.safetensors": "The file is not there.",
            "Zebra.txt": "The file is not there.",
        }

    @pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
    @pytest.mark.parametrize("linked", ["file", "folder"])
    def test_a_link_that_leads_outside(self, full: Home, tmp_path: Path, linked: str) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        path = full.library / "characters" / "alice.safetensors"
        if linked == "file":
            path.replace(outside / path.name)
            path.symlink_to(outside / path.name)
        else:
            path.parent.replace(outside / "characters")
            path.parent.symlink_to(outside / "characters")

        left = self._left_out(full)

        assert left["alice.safetensors"] == "It does not lie in a library folder."
        assert ("alice.json" in left) == (linked == "folder")

    @pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
    def test_a_link_that_stays_inside_is_followed_and_stored_once(self, full: Home) -> None:
        path = full.library / "characters" / "alice.safetensors"
        (full.library / "styles" / "twin.safetensors").symlink_to(path)
        full.scan()

        archive = write(full, Choice(Contents()))

        records = archive.records()
        members = {records[name]["files"][0]["member"] for name in ("alice", "twin")}
        assert len(members) == 1
        assert records["twin"]["files"][0]["name"] == "twin.safetensors"
        assert archive.json(MANIFEST)["counts"]["model_files"] == 3

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
    def test_what_is_no_regular_file(self, full: Home) -> None:
        path = full.library / "characters" / "alice.json"
        path.unlink()
        os.mkfifo(path)

        assert self._left_out(full) == {"alice.json": "It is not a regular file."}

    def test_pictures_outside_the_output_folder(self, full: Home, tmp_path: Path) -> None:
        with full.application.database.write() as session:
            images = Base.metadata.tables["result_images"]
            secret = tmp_path / "secret.png"
            secret.write_bytes(b"x")
            session.execute(
                images.update().where(images.c.job_id == "job-0").values(file_path=str(secret))
            )

        left = self._left_out(full, EVERYTHING)

        assert left == {"pictures/job-0/0.png": "It does not lie in the folder of pictures."}


def test_records_that_share_a_file_share_its_members(full: Home) -> None:
    alice = full.adapter("alice")
    answer = full.client.post(
        "/v1/adapters", json={"name": "Alice again", "file_path": alice["file_path"]}
    )
    assert answer.status_code == 201, answer.text

    archive = write(full, Choice(Contents()))

    records = archive.records()
    assert records["alice"]["files"] == records["Alice again"]["files"]
    assert archive.json(MANIFEST)["counts"]["model_files"] == 3


class TestPassword:
    def test_the_archive_opens_with_it_alone(self, full: Home) -> None:
        archive = write(full, Choice(EVERYTHING), "pässword")

        assert all(info.flag_bits & 1 for info in archive.zip.infolist())
        assert {info.wz_aes_strength for info in archive.zip.infolist()} == {3}
        assert set(archive.records()) == {"alice", "ink_v2", "Zebra"}
        for name, sha256 in archive.hashes().items():
            assert hashlib.sha256(archive.zip.read(name)).hexdigest() == sha256
        archive.zip.setpassword(b"other")
        with pytest.raises(RuntimeError, match="Bad password"):
            archive.zip.read(MANIFEST)

    @pytest.mark.skipif(SEVEN_ZIP is None, reason="7-Zip is not installed")
    @pytest.mark.parametrize("password", [None, "pass word"], ids=["plain", "encrypted"])
    def test_seven_zip_finds_nothing_wrong(
        self, full: Home, tmp_path: Path, password: str | None
    ) -> None:
        path = tmp_path / "a.zip"
        with path.open("wb") as target:
            writer = full.application.services.get(ArchiveWriter)
            writer.write(Choice(EVERYTHING, with_database=True), target, None, password)
        assert SEVEN_ZIP is not None

        def _test(given: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [SEVEN_ZIP, "t", f"-p{given}", str(path)], capture_output=True, text=True
            )

        right = _test(password or "")
        assert right.returncode == 0, right.stdout + right.stderr
        assert "Warnings" not in right.stdout
        if password is not None:
            assert _test("wrong").returncode != 0


LARGE_BYTES = 12 * PIECE_BYTES  # more than a stream makes ahead of who takes it


def _change(path: Path, how: str) -> None:
    if how == "touched":
        touch_later(path)
    elif how == "gone":
        path.unlink()
    elif how == "replaced":
        status = path.stat()
        new = path.with_suffix(".new")
        new.write_bytes(path.read_bytes()[::-1])
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        new.replace(path)
    else:
        os.truncate(path, path.stat().st_size + (1 if how == "longer" else -1))


class TestChangesMeanwhile:
    def _broken(self, home: Home, path: Path, how: str) -> None:
        """Change a file once the snapshot is taken, and require that the archive has no end."""
        large = home.library / "characters" / "alice.jpg"
        large.write_bytes(os.urandom(LARGE_BYTES))
        target = io.BytesIO()
        with closing(home.application.services.get(ArchiveWriter).stream(Choice(Contents()))) as s:
            target.write(next(s))
            target.write(next(s))  # after the manifest: now everything was looked at
            _change(path, how)
            with pytest.raises(StorageFailed, match=re.escape(path.name)) as failed:
                target.writelines(s)
            assert s.written is None
        assert str(path.parent) not in failed.value.detail
        with pytest.raises(zipfile.BadZipFile):
            zipfile.ZipFile(target)

    @pytest.mark.parametrize("how", ["longer", "shorter", "touched", "replaced", "gone"])
    def test_before_it_is_copied(self, full: Home, how: str) -> None:
        self._broken(full, full.library / "styles" / "Zebra.safetensors", how)

    @pytest.mark.parametrize("how", ["longer", "shorter", "touched"])
    def test_while_it_is_copied(self, full: Home, how: str) -> None:
        self._broken(full, full.library / "characters" / "alice.jpg", how)


class TestClosing:
    def test_a_stream_nobody_takes_leaves_no_thread_and_no_file(self, full: Home) -> None:
        (full.library / "characters" / "alice.jpg").write_bytes(os.urandom(LARGE_BYTES))
        writer = full.application.services.get(ArchiveWriter)
        before = {thread.name for thread in threading.enumerate()}

        stream = writer.stream(Choice(EVERYTHING, with_database=True))
        assert len(next(stream)) > 0
        assert len(next(stream)) > 0
        stream.close()

        assert {thread.name for thread in threading.enumerate()} <= before
        assert not list((full.application.settings.data_dir / "unfinished").iterdir())
        assert next(stream, None) is None

    def test_nothing_runs_before_the_first_piece_is_taken(self, full: Home) -> None:
        before = threading.active_count()
        stream = full.application.services.get(ArchiveWriter).stream(Choice(EVERYTHING))
        stream.close()

        assert threading.active_count() == before
