"""What archives of every maker give once they are opened."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import pyzipper

from lora_manager_core.errors import ArchiveRefused, PasswordNeeded, WrongPassword
from lora_manager_core.import_export.archive.format import file_member, table_member
from lora_manager_core.import_export.archive.reader import open_archive
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS, TABLES
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    JOB_ID,
    MOMENT,
    PICTURE,
    columns,
    dump,
    folder_members,
    lora_api_members,
    model,
    own_members,
    record,
    rows,
    sealed,
    write_zip,
)


def _nobody(_: int) -> None:
    """Is told of bytes."""


class TestOwnArchives:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return write_zip(tmp_path / "own.zip", sealed(own_members()))

    def test_records_come_back_column_by_column(self, path: Path) -> None:
        with open_archive(path) as archive:
            (found,) = archive.adapters()
            assert archive.maker == "lora-manager"
            assert archive.manifest.counts == {"adapters": 1}
        assert found.columns == columns()
        assert set(found.columns) == set(RECORD_COLUMNS)
        assert (found.folder, found.file_name) == ("styles", "ink.safetensors")
        assert [file.kind for file in found.files] == ["model", "side", "preview"]
        assert found.model is not None
        assert found.model.sha256 == hashlib.sha256(model()).hexdigest()

    def test_rows_of_every_table_come_back_in_an_order_that_can_be_inserted(
        self, path: Path
    ) -> None:
        with open_archive(path) as archive:
            assert archive.tables() == tuple(table.name for table in TABLES)
            assert {name: list(archive.rows(name)) for name in archive.tables()} == rows()

    def test_pictures_are_known_by_job_and_number(self, path: Path) -> None:
        with open_archive(path) as archive:
            picture = archive.pictures()[JOB_ID, 0]
            assert (picture.name, picture.size) == ("0.png", len(PICTURE))

    def test_a_member_is_copied_whole_and_hashed(self, path: Path, tmp_path: Path) -> None:
        told: list[int] = []
        with open_archive(path) as archive:
            member = file_member(ADAPTER_ID, "ink.safetensors")
            digest = archive.copy(member, tmp_path / "copy", told.append)
            archive.verify(told.append)
            assert archive.expanded_bytes == len(model()) + len(PICTURE) * 2 + 31
        assert (tmp_path / "copy").read_bytes() == model()
        assert digest == hashlib.sha256(model()).hexdigest()
        assert sum(told) > len(model()) * 2

    def test_a_copy_that_is_stopped_leaves_nothing(self, path: Path, tmp_path: Path) -> None:
        def _stop(_: int) -> None:
            raise InterruptedError

        with open_archive(path) as archive, pytest.raises(InterruptedError):
            archive.copy(file_member(ADAPTER_ID, "ink.safetensors"), tmp_path / "copy", _stop)
        assert not (tmp_path / "copy").exists()

    def test_an_existing_file_is_never_written_over(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "copy").write_bytes(b"mine")
        with open_archive(path) as archive, pytest.raises(FileExistsError):
            archive.copy(file_member(ADAPTER_ID, "ink.safetensors"), tmp_path / "copy", _nobody)
        assert (tmp_path / "copy").read_bytes() == b"mine"

    def test_an_export_without_files_has_records_alone(self, tmp_path: Path) -> None:
        members = {f"adapters/{ADAPTER_ID}/record.json": dump(record(files=[]))}
        with open_archive(write_zip(tmp_path / "a.zip", sealed(members))) as archive:
            (found,) = archive.adapters()
            assert found.model is None
            assert archive.tables() == ()

    def test_jobs_that_had_not_ended_come_out_cancelled(self, tmp_path: Path) -> None:
        members = own_members()
        job = {**rows()["jobs"][0], "status": "running", "finished_at": None, "result": None}
        attempt = {**rows()["job_attempts"][0], "outcome": None, "ended_at": None}
        members[table_member("jobs")] = dump(job)
        members[table_member("job_attempts")] = dump(attempt)
        with open_archive(write_zip(tmp_path / "a.zip", sealed(members))) as archive:
            (found,) = archive.rows("jobs")
            (tried,) = archive.rows("job_attempts")
        assert (found["status"], found["finished_at"]) == ("cancelled", MOMENT)
        assert found["error"]["code"] == "job_not_taken_along"
        assert (tried["outcome"], tried["ended_at"]) == ("abandoned", MOMENT)

    def test_odd_names_of_other_systems_are_made_safe(self, tmp_path: Path) -> None:
        location = {"folder": "aux/a:b ", "file_name": "what?.safetensors"}
        members = {f"adapters/{ADAPTER_ID}/record.json": dump(record(location=location, files=[]))}
        with open_archive(write_zip(tmp_path / "a.zip", sealed(members))) as archive:
            (found,) = archive.adapters()
        assert (found.folder, found.file_name) == ("_aux/a_b", "what_.safetensors")

    def test_files_of_no_known_kind_are_left_in_the_archive(self, tmp_path: Path) -> None:
        member = file_member(ADAPTER_ID, "ink.exe")
        files = [{"member": member, "kind": "side", "name": "ink.exe", "mtime_ns": 0}]
        members = {
            f"adapters/{ADAPTER_ID}/record.json": dump(record(files=files)),
            member: b"MZ",
        }
        with open_archive(write_zip(tmp_path / "a.zip", sealed(members))) as archive:
            assert [found.files for found in archive.adapters()] == [()]
            assert [ignored.member for ignored in archive.ignored] == [member]
            assert archive.expanded_bytes == 0

    def test_side_files_of_other_models_are_left_in_the_archive(self, tmp_path: Path) -> None:
        members = own_members()
        given = record()
        for file in given["files"][1:]:
            file["name"] = "alice" + file["name"].removeprefix("ink")
        members[f"adapters/{ADAPTER_ID}/record.json"] = dump(given)
        with open_archive(write_zip(tmp_path / "a.zip", sealed(members))) as archive:
            (found,) = archive.adapters()
        assert [file.name for file in found.files] == ["ink.safetensors"]

    def test_a_file_of_two_records_is_there_once(self, tmp_path: Path) -> None:
        members = own_members()
        other = "9a9b7c52-2f5d-4a55-8a4b-9d6b6c1c2d3e"
        members[f"adapters/{other}/record.json"] = dump(
            {**record(), "adapter": columns(other, version="2")}
        )
        with open_archive(write_zip(tmp_path / "a.zip", sealed(members))) as archive:
            models = [found.model for found in archive.adapters()]
        assert models[0] == models[1] is not None

    def test_a_damaged_model_comes_back_where_that_is_accepted(self, tmp_path: Path) -> None:
        member = file_member(ADAPTER_ID, "ink.safetensors")
        path = write_zip(tmp_path / "a.zip", sealed({**own_members(), member: b"damaged"}))
        with open_archive(path) as archive, pytest.raises(ArchiveRefused, match="no usable model"):
            archive.verify(_nobody)
        with open_archive(path, allow_pickles=True) as archive:
            archive.verify(_nobody)
            archive.copy(member, tmp_path / "copy", _nobody)
        assert (tmp_path / "copy").read_bytes() == b"damaged"


class TestLoraApiArchives:
    def test_its_fields_are_taken_and_its_paths_are_not(self, tmp_path: Path) -> None:
        with open_archive(write_zip(tmp_path / "a.zip", lora_api_members())) as archive:
            assert archive.maker == "lora-api"
            (found,) = archive.adapters()
            assert archive.ignored == ()
            archive.verify(_nobody)
        assert found.columns == {
            "id": ADAPTER_ID,
            "name": "Ink portrait",
            "version": "v2",
            "visibility": "Public",
            "tags": ["ink"],
            "trained_words": ["inkstyle"],
            "weight": 0.8,
            "active": True,
            "nsfw_level": 1,
        }
        assert [(file.kind, file.name) for file in found.files] == [
            ("model", "ink.safetensors"),
            ("side", "ink.json"),
        ]

    def test_an_adapter_without_its_file_is_taken_as_a_record(self, tmp_path: Path) -> None:
        path = "C:\\loras\\deep\\ink.safetensors"
        members = lora_api_members(file_path=path)
        members["manifest.json"] = dump(
            {"adapters": [{"metadata_path": f"adapters/{ADAPTER_ID}/metadata.json"}]}
        )
        with open_archive(write_zip(tmp_path / "a.zip", members)) as archive:
            (found,) = archive.adapters()
            assert {ignored.member for ignored in archive.ignored} == {
                f"adapters/{ADAPTER_ID}/files/0_ink.safetensors",
                f"adapters/{ADAPTER_ID}/files/1_ink.json",
            }
        assert (found.model, found.file_name) == (None, "ink.safetensors")


class TestZippedFolders:
    def test_models_keep_their_folder_and_what_lies_beside_them(self, tmp_path: Path) -> None:
        with open_archive(write_zip(tmp_path / "a.zip", folder_members())) as archive:
            assert archive.maker == "folder"
            found = {record.file_name: record for record in archive.adapters()}
            assert [ignored.member for ignored in archive.ignored] == ["styles/read me.txt"]
        ink = found["ink.v2.safetensors"]
        assert ink.folder == "styles"
        assert [file.name for file in ink.files] == [
            "ink.v2.safetensors",
            "ink.v2.civitai.info",
            "ink.v2.preview.png",
        ]
        assert found["Zebra.SAFETENSORS"].folder == ""

    def test_what_scans_pass_over_and_archives_inside_are_left(self, tmp_path: Path) -> None:
        members = {
            "a.safetensors": model(),
            "__MACOSX/._a.safetensors": b"mac",
            ".git/a.safetensors": model(),
            "more.zip": b"PK",
        }
        with open_archive(write_zip(tmp_path / "a.zip", members)) as archive:
            assert [found.file_name for found in archive.adapters()] == ["a.safetensors"]
            why = {ignored.member: ignored.reason for ignored in archive.ignored}
        assert set(why) == set(members) - {"a.safetensors"}
        assert "not opened" in why["more.zip"]

    def test_folders_are_no_members(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
            made.mkdir("styles")
            made.writestr("styles/a.safetensors", model())
        with open_archive(tmp_path / "a.zip") as archive:
            archive.verify(_nobody)
            assert len(list(archive.adapters())) == 1

    def test_pickles_are_taken_if_somebody_accepts_them(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "a.zip", {"a.pt": b"anything at all"})
        with open_archive(path, allow_pickles=True) as archive:
            archive.copy("a.pt", tmp_path / "copy", _nobody)
        assert (tmp_path / "copy").read_bytes() == b"anything at all"


class TestEncryptedArchives:
    @pytest.mark.parametrize("bits", [128, 192, 256])
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    @pytest.mark.parametrize("version", [1, 2])
    def test_every_form_of_aes_is_read(
        self, tmp_path: Path, bits: int, method: int, version: int
    ) -> None:
        kind = {"nbits": bits, "force_wz_aes_version": version}
        path = _encrypted(tmp_path / "a.zip", compression=method, encryption_kwargs=kind)
        with open_archive(path, "käse 🧀") as archive:
            archive.verify(_nobody)
            assert len(list(archive.adapters())) == 1
            assert list(archive.rows("jobs")) == rows()["jobs"]

    def test_without_a_password_it_asks_for_one(self, tmp_path: Path) -> None:
        path = _encrypted(tmp_path / "a.zip")
        for nothing in (None, ""):
            with pytest.raises(PasswordNeeded):
                open_archive(path, nothing)

    def test_a_wrong_password_is_said_to_be_wrong(self, tmp_path: Path) -> None:
        path = _encrypted(tmp_path / "a.zip")
        with pytest.raises(WrongPassword):
            open_archive(path, "another")

    def test_a_password_that_is_not_needed_does_no_harm(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "a.zip", sealed(own_members()))
        with open_archive(path, "anything") as archive:
            archive.verify(_nobody)


class TestLargeArchives:
    def test_more_members_than_a_zip_without_zip64_can_count(self, tmp_path: Path) -> None:
        path = tmp_path / "many.zip"
        with zipfile.ZipFile(path, "w") as made:
            for number in range(65_600):
                made.writestr(zipfile.ZipInfo(f"{number % 100}/{number}.txt"), b"")
            made.writestr("a.safetensors", model())
        with open_archive(path) as archive:
            assert len(list(archive.adapters())) == 1
            assert len(archive.ignored) == 65_600

    @pytest.mark.timeout(300)  # reads and hashes it all, on however busy a machine
    def test_members_of_over_4_gib(self, tmp_path: Path) -> None:
        path, size = tmp_path / "large.zip", 4 * 2**30 + 5
        write_large(path, size)
        told: list[int] = []
        with open_archive(path) as archive:
            found = {record.file_name: record for record in archive.adapters()}
            assert found["large.safetensors"].model is not None
            assert found["large.safetensors"].model.size == size
            archive.copy("small.safetensors", tmp_path / "small", told.append)
            archive.verify(told.append)
        assert sum(told) > size
        assert (tmp_path / "small").read_bytes() == model()

    def test_what_another_program_streams_is_read(self, tmp_path: Path) -> None:
        """With sizes behind the contents, and ZIP64 where nobody knew how much would come."""

        class _Pipe(io.RawIOBase):
            def __init__(self) -> None:
                self.written = bytearray()

            def writable(self) -> bool:
                return True

            def write(self, piece: Any) -> int:
                self.written += piece
                return len(piece)

        pipe = _Pipe()
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in folder_members().items():
                with made.open(name, "w", force_zip64=name.endswith(".png")) as member:
                    member.write(content)
        (tmp_path / "a.zip").write_bytes(pipe.written)
        with open_archive(tmp_path / "a.zip") as archive:
            archive.verify(_nobody)


def test_a_file_that_is_open_elsewhere_is_given_back_when_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"nothing")
    with pytest.raises(ArchiveRefused):
        open_archive(path)
    path.unlink()  # on Windows only if nobody holds it


def write_large(path: Path, size: int) -> None:
    """An archive with a model of `size` bytes, nearly all of them a hole in the file."""
    header = b'{"x":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}'
    length = size - 8 - len(header % (size, size))
    start = header % (length, length)
    start = len(start).to_bytes(8, "little") + start
    info = zipfile.ZipInfo("large.safetensors")
    crc = zlib.crc32(start)
    zeros = bytes(2**20)
    left = size - len(start)
    while left:
        crc = zlib.crc32(zeros[: min(left, len(zeros))], crc)
        left -= min(left, len(zeros))
    with path.open("wb") as file:
        info.CRC, info.file_size, info.compress_size, info.header_offset = crc, size, size, 0
        file.write(info.FileHeader(zip64=True) + start)
        file.seek(size - len(start), 1)
        with zipfile.ZipFile(file, "w") as made:
            made.filelist.append(info)
            made.NameToInfo[info.filename] = info
            made.start_dir = file.tell()
            made.writestr("small.safetensors", model())


def _encrypted(path: Path, **options: Any) -> Path:
    with pyzipper.AESZipFile(path, "w", encryption=pyzipper.WZ_AES, **options) as made:
        made.setpassword("käse 🧀".encode())
        for name, content in sealed(own_members()).items():
            made.writestr(name, content)
    return path
