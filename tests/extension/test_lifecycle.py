"""Start, second start, stop and failure, with a written host."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lora_manager_ext.host import LOGGER
from lora_manager_ext.lifecycle import EXACT, FUSE_OPTION, Extension
from lora_manager_ext.manager import default_data_dir


class FakeHost:
    """As much of `Host` as starting needs."""

    def __init__(self, folder: Path) -> None:
        self.lora_dir = folder / "Lora"
        self.lora_dir.mkdir()
        self.data_path = folder / "host"
        self.subpath = ""
        self.queue_lock = threading.Lock()
        self.options: dict[str, Any] = {
            "lora_manager_data_dir": str(folder / "ours"),
            FUSE_OPTION: True,
        }
        self.callbacks: dict[str, Any] = {}

    def option(self, name: str, default: Any = None) -> Any:
        return self.options.get(name, default)

    def set_option(self, name: str, value: Any) -> None:
        self.options[name] = value

    def add_settings(self, settings: Sequence[tuple[str, Any, str, str]]) -> None:
        for name, default, _, _ in settings:
            self.options.setdefault(name, default)

    def lora_aliases(self) -> dict[str, Any]:
        return {}

    def refresh_loras(self) -> None: ...

    def cached_hashes(self, store: str) -> dict[str, Any]:
        return {}

    def style_prompts(self, names: Sequence[str]) -> list[str]:
        return []

    def credentials(self) -> Mapping[str, str]:
        return {}

    def needs_login(self) -> bool:
        return False

    def model(self) -> tuple[str, str, str] | None:
        return None

    def is_loading(self) -> bool:
        return True

    def has_checkpoint(self) -> bool:
        return True

    def allow_in_control(self) -> None: ...

    def script_base(self) -> tuple[type[Any], Any]:
        return object, "always"

    def register(self, **callbacks: Any) -> None:
        self.callbacks = callbacks

    def register_tabs(self, tabs: Any) -> None:
        self.callbacks = {"tabs": tabs}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


@pytest.fixture
def extension(host: FakeHost) -> Iterator[Extension]:
    made = Extension(host)  # type: ignore[arg-type]
    yield made
    made.stop()


def health(app: FastAPI) -> Any:
    with TestClient(app) as client:
        return client.get("/v1/health").json()


def test_start(extension: Extension, host: FakeHost, tmp_path: Path) -> None:
    extension.register()
    app = FastAPI()
    extension.start(None, app)
    assert health(app)["ready"]
    assert (tmp_path / "ours" / "lora-manager.sqlite3").exists()
    with TestClient(app) as client:
        (backend,) = client.get("/v1/generation/backends").json()["backends"]
        assert client.get("/v1/injection").json() == {"available": True, "enabled": True}
    assert backend["available"] is False
    assert "still starting" in backend["reason"]


def test_second_start_mounts_once(extension: Extension) -> None:
    extension.register()
    app = FastAPI()
    extension.start(None, app)
    routes = len(app.router.routes)
    extension.start(None, app)
    assert len(app.router.routes) == routes
    assert health(app)["ready"]


def test_scripts_reloaded(extension: Extension) -> None:
    """The host says `script_unloaded`, runs our script again, and starts a new app."""
    extension.register()
    extension.start(None, FastAPI())
    extension.stop()
    extension.register()
    app = FastAPI()
    extension.start(None, app)
    assert health(app)["ready"]


def test_under_a_subpath(extension: Extension, host: FakeHost) -> None:
    host.subpath = "/sd"
    extension.register()
    app = FastAPI()
    extension.start(None, app)
    with TestClient(app) as client:
        for path in ("/v1/health", "/api/v1/health", "/sd/v1/health", "/sd/api/v1/health"):
            assert client.get(path).status_code == 200


class TestExactStrengths:
    def test_switched_off_and_said(
        self, extension: Extension, host: FakeHost, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, LOGGER):
            extension.register()
            extension.start(None, FastAPI())
        assert host.options[FUSE_OPTION] is False
        assert any("exact LoRA strengths" in record.message for record in caplog.records)

    def test_unless_told_otherwise(self, extension: Extension, host: FakeHost) -> None:
        host.options[EXACT] = False
        extension.register()
        extension.start(None, FastAPI())
        assert host.options[FUSE_OPTION] is True

    def test_unless_the_environment_says_otherwise(
        self, extension: Extension, host: FakeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LORA_MANAGER_EXACT_STRENGTHS", "false")
        extension.register()
        extension.start(None, FastAPI())
        assert host.options[FUSE_OPTION] is True


class TestFailure:
    def test_start_that_fails_is_said_and_stops_nothing(
        self, extension: Extension, host: FakeHost, tmp_path: Path, caplog: Any
    ) -> None:
        (tmp_path / "ours").write_text("a file where the folder should be", encoding="utf-8")
        extension.register()
        app = FastAPI()
        extension.start(None, app)
        assert health(app) == {"detail": "Not Found"}
        assert any("could not start" in record.message for record in caplog.records)

    def test_worker_processes_cannot_make_the_host_s_pictures(
        self, extension: Extension, host: FakeHost, tmp_path: Path, caplog: Any
    ) -> None:
        (tmp_path / "ours").mkdir()
        (tmp_path / "ours" / "config.toml").write_text("redis_url = 'redis://127.0.0.1:1/0'")
        extension.register()
        app = FastAPI()
        extension.start(None, app)
        assert health(app) == {"detail": "Not Found"}
        assert "Unset LORA_MANAGER_REDIS_URL" in caplog.text

    def test_missing_libraries(
        self, extension: Extension, host: FakeHost, caplog: pytest.LogCaptureFixture
    ) -> None:
        extension.register_problem("sqlalchemy is missing")
        assert list(host.callbacks) == ["tabs"]
        assert [record.message for record in caplog.records] == ["sqlalchemy is missing"]


def test_two_hosts_do_not_share_a_folder(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert default_data_dir(tmp_path, one) != default_data_dir(tmp_path, other)
    assert default_data_dir(tmp_path, one) == default_data_dir(tmp_path, one / ".." / "one")
