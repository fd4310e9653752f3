"""Where a setting comes from: arguments, then the environment, then config.toml, then defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lora_manager_core.settings import Settings

_FIRST, _SECOND = str(Path("/first").absolute()), str(Path("/second").absolute())

#: One setting of each kind: its name; then, for toml, environment and argument, the value written
#: there and the value expected; then its default.
KINDS = [
    pytest.param(
        "sdnext_url",
        ("http://toml", "http://toml"),
        ("http://environment", "http://environment"),
        ("http://argument", "http://argument"),
        None,
        id="text",
    ),
    pytest.param("gpu_workers", (2, 2), ("3", 3), (4, 4), 1, id="number"),
    pytest.param(
        "exact_strengths", (False, False), ("true", True), (False, False), True, id="flag"
    ),
    pytest.param(
        "import_path",
        ("from-toml", Path("from-toml")),
        ("from-environment", Path("from-environment")),
        (Path("from-argument"), Path("from-argument")),
        Path("./loras"),
        id="folder",
    ),
    pytest.param(
        "library_roots",
        ([_FIRST], (Path(_FIRST),)),
        (os.pathsep.join([_FIRST, _SECOND]), (Path(_FIRST), Path(_SECOND))),
        ((Path(_SECOND),), (Path(_SECOND),)),
        (),
        id="folders",
    ),
    pytest.param(
        "http_targets",
        (["a:1"], ("a:1",)),
        ("b:2, c:3", ("b:2", "c:3")),
        (("d:4",), ("d:4",)),
        (),
        id="list",
    ),
]


def _write_toml(folder: Path, **values: Any) -> None:
    lines = [f"{name} = {_as_toml(value)}" for name, value in values.items()]
    (folder / "config.toml").write_text("\n".join(lines), encoding="utf-8")


def _as_toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_as_toml(part) for part in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


@pytest.mark.parametrize(("name", "toml", "environment", "argument", "default"), KINDS)
class TestPrecedence:
    """Each step takes the strongest source away; the next one then decides."""

    def test_argument_then_environment_then_toml_then_default(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        toml: tuple[Any, Any],
        environment: tuple[str, Any],
        argument: tuple[Any, Any],
        default: Any,
    ) -> None:
        _write_toml(tmp_path, **{name: toml[0]})
        monkeypatch.setenv(f"LORA_MANAGER_{name.upper()}", environment[0])
        assert getattr(Settings(data_dir=tmp_path, **{name: argument[0]}), name) == argument[1]
        assert getattr(Settings(data_dir=tmp_path), name) == environment[1]

        monkeypatch.delenv(f"LORA_MANAGER_{name.upper()}")
        assert getattr(Settings(data_dir=tmp_path), name) == toml[1]

        (tmp_path / "config.toml").unlink()
        assert getattr(Settings(data_dir=tmp_path), name) == default


class TestConfigFile:
    def test_is_looked_for_in_the_data_folder_the_environment_names(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write_toml(tmp_path, gpu_workers=5)
        monkeypatch.setenv("LORA_MANAGER_DATA_DIR", str(tmp_path))

        settings = Settings()

        assert (settings.data_dir, settings.gpu_workers) == (tmp_path, 5)

    def test_with_an_unknown_name_is_refused(self, tmp_path: Path) -> None:
        _write_toml(tmp_path, gpu_wrokers=5)

        with pytest.raises(ValidationError, match="gpu_wrokers"):
            Settings(data_dir=tmp_path)

    def test_with_a_bad_value_says_which(self, tmp_path: Path) -> None:
        _write_toml(tmp_path, gpu_workers=0)

        with pytest.raises(ValidationError, match="gpu_workers"):
            Settings(data_dir=tmp_path)


class TestDerivedPaths:
    def test_lie_in_the_data_folder_unless_set(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path)

        assert settings.outputs == tmp_path / "outputs"
        assert settings.database == f"sqlite:///{(tmp_path / 'lora-manager.sqlite3').as_posix()}"

    def test_follow_their_own_setting_where_there_is_one(self, tmp_path: Path) -> None:
        settings = Settings(
            data_dir=tmp_path,
            output_dir=tmp_path / "elsewhere",
            database_url="postgresql://host/db",
        )

        assert settings.outputs == tmp_path / "elsewhere"
        assert settings.database == "postgresql://host/db"


def test_reading_settings_creates_nothing(tmp_path: Path) -> None:
    Settings(data_dir=tmp_path / "not-there")

    assert list(tmp_path.iterdir()) == []


def test_an_address_of_redis_names_its_protocol(tmp_path):
    with pytest.raises(ValidationError, match="must begin with redis://"):
        Settings(data_dir=tmp_path, redis_url="127.0.0.1:6379")
