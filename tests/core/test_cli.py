"""The command line: what it refuses, and what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_manager_core.cli import main
from tests.fakes.lora_files import write_lora


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    return ["--data-dir", str(tmp_path / "data")]


class TestServe:
    def test_refuses_another_address_without_a_key(self, data, capsys):
        assert main(["serve", *data, "--host", "0.0.0.0"]) == 2
        assert "key add" in capsys.readouterr().err


class TestWorker:
    def test_without_redis_says_what_to_set(self, data, capsys):
        assert main(["worker", *data]) == 2
        assert "LORA_MANAGER_REDIS_URL" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "option",
        [
            pytest.param(["--lanes", "gpu,kitchen"], id="unknown lane"),
            pytest.param(["--lanes", ","], id="no lane"),
            pytest.param(["--processes", "0"], id="no process"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, data, capsys, option):
        with pytest.raises(SystemExit) as ended:
            main(["worker", *data, *option])
        assert ended.value.code == 2


class TestScan:
    def test_says_what_it_found(self, data, tmp_path, capsys):
        write_lora(tmp_path / "loras" / "a.safetensors")
        assert main(["scan", *data, "--library", str(tmp_path / "loras")]) == 0
        assert "1 files" in capsys.readouterr().out

    def test_names_a_folder_that_is_missing(self, data, tmp_path, capsys):
        assert main(["scan", *data, "--library", str(tmp_path / "none")]) == 0
        assert "does not exist" in capsys.readouterr().err

    def test_without_a_library_says_what_to_set(self, data, capsys):
        assert main(["scan", *data]) == 1
        assert "LIBRARY_ROOTS" in capsys.readouterr().err


class TestKey:
    def test_adds_lists_and_revokes(self, data, capsys):
        assert main(["key", *data, "add", "laptop"]) == 0
        key = capsys.readouterr().out.strip()
        assert key.startswith("lm_")
        assert main(["key", *data, "list"]) == 0
        listed = capsys.readouterr().out
        assert "laptop" in listed
        assert key not in listed
        assert main(["key", *data, "revoke", listed.split()[0]]) == 0
        assert main(["key", *data, "revoke", "ghost"]) == 1


class TestDoctor:
    def test_names_what_is_wrong(self, data, tmp_path, capsys):
        assert main(["doctor", *data, "--library", str(tmp_path / "none")]) == 1
        assert "does not exist" in capsys.readouterr().out

    def test_a_wrong_setting_is_named(self, data, capsys, monkeypatch):
        monkeypatch.setenv("LORA_MANAGER_PORT", "many")
        assert main(["doctor", *data]) == 2
        assert "port" in capsys.readouterr().err
