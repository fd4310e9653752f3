"""The commands on archives: what they print, where, and what they end with."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from lora_manager_core.bootstrap import Parts, build_application
from lora_manager_core.cli import main
from lora_manager_core.cli_passwords import PASSWORD_VARIABLE
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.import_export.backups.service import BackupService
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.settings import Settings
from tests.fakes.backend import FakeBackend
from tests.fakes.lora_files import write_lora


@pytest.fixture
def data(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options of a small installation that was scanned."""
    write_lora(tmp_path / "loras" / "styles" / "ink.safetensors", seed=1)
    write_lora(tmp_path / "loras" / "alice.safetensors", seed=2)
    monkeypatch.setenv("LORA_MANAGER_DATABASE_URL", database_url)
    monkeypatch.setenv("LORA_MANAGER_IMPORT_PATH", str(tmp_path / "loras"))
    options = ["--data-dir", str(tmp_path / "data"), "--library", str(tmp_path / "loras")]
    assert main(["scan", *options]) == 0
    return options


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("correct horse\n")
    return path


def _backed_up(data: list[str], capsys: pytest.CaptureFixture[str], *more: str) -> Path:
    capsys.readouterr()
    assert main(["backup", *data, *more]) == 0
    return Path(capsys.readouterr().out.strip())


def _notes(database_url: str, notes: str | None = None) -> str | None:
    """What is noted of `alice`; first set, if given."""
    database = Database(database_url)
    with database.write() as session:
        if notes is not None:
            edited = {"notes": notes, "edited_fields": ["notes"]}
            session.execute(update(Adapter).where(Adapter.name == "alice").values(**edited))
        found = session.scalar(select(Adapter.notes).where(Adapter.name == "alice"))
    database.close()
    return found


class TestBackup:
    def test_prints_where_it_is(self, data, capsys):
        path = _backed_up(data, capsys)
        with zipfile.ZipFile(path) as archive:
            assert sum(n.endswith(".safetensors") for n in archive.namelist()) == 2

    def test_says_which_data_folder_knows_no_adapters(self, data, capsys, database_url):
        database = Database(database_url)
        with database.write() as session:
            session.execute(delete(Adapter))
        database.close()
        assert main(["backup", *data]) == 0
        told = capsys.readouterr().err
        assert data[1] in told
        assert "--data-dir" in told

    def test_quick_leaves_the_model_files_out(self, data, capsys):
        path = _backed_up(data, capsys, "--type", "quick")
        assert "-quick-" in path.name
        with zipfile.ZipFile(path) as archive:
            assert not any(n.endswith(".safetensors") for n in archive.namelist())

    def test_encrypted_with_the_password_of_a_file(self, data, capsys, secret):
        path = _backed_up(data, capsys, "--password-file", str(secret))
        assert main(["verify", *data, str(path)]) == 1
        assert "--password-file" in capsys.readouterr().err
        assert main(["verify", *data, str(path), "--password-file", str(secret)]) == 0

    def test_encrypted_with_the_password_of_the_environment(self, data, capsys, monkeypatch):
        monkeypatch.setenv(PASSWORD_VARIABLE, "correct horse")
        path = _backed_up(data, capsys, "--encrypt")
        assert main(["verify", *data, str(path)]) == 0
        monkeypatch.setenv(PASSWORD_VARIABLE, "battery")
        assert main(["verify", *data, str(path)]) == 1

    @pytest.mark.parametrize(
        "more", [["--encrypt"], ["--password-file", "/nowhere/secret"]], ids=str
    )
    def test_without_a_password_nothing_is_written(self, data, capsys, more, tmp_path):
        assert main(["backup", *data, *more]) == 1
        assert "password" in capsys.readouterr().err or more[0] == "--password-file"
        assert not list((tmp_path / "data").rglob("*.zip"))


class TestVerify:
    def test_a_damaged_one_is_told(self, data, capsys):
        path = _backed_up(data, capsys)
        path.write_bytes(path.read_bytes()[:-100])
        assert main(["verify", *data, str(path)]) == 1
        assert str(path) in capsys.readouterr().err

    def test_the_latest_and_one_by_its_id(self, data, capsys):
        path = _backed_up(data, capsys)
        assert main(["verify", *data, "latest"]) == 0
        assert str(path) in capsys.readouterr().out
        assert main(["verify", *data, path.stem[-36:]]) == 0

    @pytest.mark.parametrize("which", ["latest", "ghost"])
    def test_none_is_told(self, data, capsys, which):
        assert main(["verify", *data, which]) == 1
        assert "no backup" in capsys.readouterr().err


class TestRestore:
    def test_puts_back_what_people_wrote_and_the_files(self, data, capsys, tmp_path, database_url):
        _notes(database_url, "mine")
        _backed_up(data, capsys)
        _notes(database_url, "gone")
        (tmp_path / "loras" / "styles" / "ink.safetensors").unlink()
        assert main(["restore", *data, "latest"]) == 0
        printed = capsys.readouterr()
        assert "Restored 2 adapters; 1 files written." in printed.out
        assert "What was there before" in printed.out
        assert _notes(database_url) == "mine"
        assert (tmp_path / "loras" / "styles" / "ink.safetensors").exists()

    def test_from_a_file_without_its_model_files(self, data, capsys, tmp_path, database_url):
        _notes(database_url, "mine")
        path = _backed_up(data, capsys)
        away = path.rename(tmp_path / "away.zip")
        _notes(database_url, "gone")
        (tmp_path / "loras" / "alice.safetensors").unlink()
        assert main(["restore", *data, str(away), "--no-files", "--no-backup"]) == 0
        printed = capsys.readouterr()
        assert "What was there before" not in printed.out
        assert "marked as missing" in printed.err
        assert _notes(database_url) == "mine"

    def test_what_is_no_backup_is_refused(self, data, capsys, tmp_path):
        (tmp_path / "note.zip").write_text("hello")
        assert main(["restore", *data, str(tmp_path / "note.zip")]) == 1
        assert capsys.readouterr().err


class TestExportAndImport:
    def test_what_goes_out_comes_in_elsewhere(
        self, data, capsys, tmp_path, database_url, make_database_url, monkeypatch
    ):
        _notes(database_url, "mine")
        archive = tmp_path / "out.zip"
        assert main(["export", *data, str(archive)]) == 0
        assert str(archive) in capsys.readouterr().out
        other = make_database_url("sqlite")
        monkeypatch.setenv("LORA_MANAGER_DATABASE_URL", other)
        monkeypatch.setenv("LORA_MANAGER_IMPORT_PATH", str(tmp_path / "there"))
        there = ["--data-dir", str(tmp_path / "other"), "--library", str(tmp_path / "there")]
        (tmp_path / "there").mkdir()
        assert main(["import", *there, str(archive), "--dry-run"]) == 0
        assert "2 adapters would be created" in capsys.readouterr().out
        assert not list((tmp_path / "there").rglob("*.safetensors"))
        assert main(["import", *there, str(archive)]) == 0
        assert "2 adapters created" in capsys.readouterr().out
        assert len(list((tmp_path / "there").rglob("*.safetensors"))) == 2
        assert _notes(other) == "mine"

    def test_conflicts_are_listed_and_nothing_is_imported(
        self, data, capsys, tmp_path, database_url
    ):
        archive = tmp_path / "out.zip"
        _notes(database_url, "theirs")
        assert main(["export", *data, str(archive), "--no-files"]) == 0
        _notes(database_url, "mine")
        assert main(["import", *data, str(archive)]) == 1
        printed = capsys.readouterr().err
        assert "--on-conflict" in printed
        assert "alice" in printed
        assert _notes(database_url) == "mine"
        assert main(["import", *data, str(archive), "--on-conflict", "replace"]) == 0
        assert _notes(database_url) == "theirs"

    def test_one_that_fails_stops_no_other(self, data, capsys, tmp_path):
        good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
        assert main(["export", *data, str(good)]) == 0
        bad.write_text("no zip")
        assert main(["import", *data, str(bad), str(good), "--dry-run"]) == 1
        printed = capsys.readouterr()
        assert "bad.zip" in printed.err
        assert "good.zip" in printed.out

    def test_chosen_adapters_and_an_unknown_one(self, data, capsys, tmp_path):
        assert main(["export", *data, str(tmp_path / "x.zip"), "--ids", "ghost"]) == 1
        assert "unknown" in capsys.readouterr().err
        assert not (tmp_path / "x.zip").exists()
        assert not list(tmp_path.glob("*.part"))

    def test_no_file_is_overwritten_unasked(self, data, capsys, tmp_path):
        (tmp_path / "x.zip").write_text("mine")
        assert main(["export", *data, str(tmp_path / "x.zip")]) == 2
        assert (tmp_path / "x.zip").read_text() == "mine"
        assert main(["export", *data, str(tmp_path / "x.zip"), "--overwrite"]) == 0

    def test_a_folder_that_is_not_there_is_told(self, data, capsys, tmp_path):
        assert main(["export", *data, str(tmp_path / "none" / "x.zip")]) == 1
        assert "x.zip" in capsys.readouterr().err

    def test_a_target_outside_the_library_is_refused(self, data, capsys, tmp_path):
        archive = tmp_path / "out.zip"
        assert main(["export", *data, str(archive)]) == 0
        assert main(["import", *data, str(archive), "--target", str(tmp_path / "evil")]) == 1
        assert "must lie inside" in capsys.readouterr().err


class TestBesideAServer:
    def test_a_backup_is_made_while_the_server_works(self, data, capsys, tmp_path, database_url):
        server = build_application(
            Settings(
                data_dir=tmp_path / "data",
                database_url=database_url,
                library_roots=(tmp_path / "loras",),
            ),
            Parts(backends=lambda _database: [FakeBackend()]),
        )
        server.start(scan=True)
        try:
            paths: list[Path] = []
            thread = threading.Thread(target=lambda: paths.append(_backed_up(data, capsys)))
            thread.start()
            jobs = server.services.get(Jobs)
            jobs.wait(server.services.get(LibraryService).start_scan().id, 60)
            thread.join()
            history = server.services.get(BackupService).history()
            assert [backup.file_name for backup in history] == [paths[0].name]
            assert main(["restore", *data, "latest"]) == 0
        finally:
            server.stop()


class TestUsage:
    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param(["backup", "--type", "half"], id="unknown type"),
            pytest.param(["restore"], id="no backup named"),
            pytest.param(["import"], id="no file"),
            pytest.param(["import", "x.zip", "--on-conflict", "burn"], id="unknown rule"),
            pytest.param(["backup", "--password", "x"], id="a password on the command line"),
        ],
    )
    def test_what_makes_no_sense_ends_with_2(self, wrong):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
