"""Fixtures and rules for every test: two databases, honest skips, no network beyond loopback."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.db.unit_of_work import Database
from tests.postgres import PostgresDatabases

# Nothing of the shell that the tests run in, and no library that calls home.
for _name in [name for name in os.environ if name.startswith("LORA_MANAGER_")]:
    del os.environ[_name]
os.environ.update(HF_HUB_OFFLINE="1", GRADIO_ANALYTICS_ENABLED="False")
# Loading a text model takes longer than most tests; those about it say so.
os.environ["LORA_MANAGER_AUTO_EMBED"] = "false"
os.environ["LORA_MANAGER_AUTO_HASH"] = "false"

#: Set by `./check` to the servers it starts.
REDIS_URL = "LORA_TEST_REDIS_URL"
POSTGRES_URL = "LORA_TEST_POSTGRES_URL"

#: The `database_url` fixture's parameters; other tests may use them under their own names.
DATABASES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgres", id="postgres", marks=pytest.mark.postgres),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sdnext", metavar="DIR", help="an SD.Next checkout, for the tests marked `host`"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = {marker: reason for marker, reason in _what_is_missing(config).items() if reason}
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
                break
    # Last, because Playwright keeps an event loop running on this thread while it is open, and
    # `asyncio.run` refuses to work beside it. The sort is stable.
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


def _what_is_missing(config: pytest.Config) -> dict[str, str | None]:
    """Why the tests of a marker cannot run here, in one line; None where they can."""
    browser = Path("/usr/bin/chromium").exists() or shutil.which("chromium")
    embedded = all(
        importlib.util.find_spec(name) for name in ("torch", "diffusers", "transformers", "peft")
    )
    return {
        "host": None if config.getoption("--sdnext") else "no SD.Next checkout (--sdnext DIR)",
        "browser": None
        if browser and importlib.util.find_spec("playwright")
        else "no Chromium (Debian package `chromium`) or no Playwright",
        "embedded": None if embedded else "the `embedded` extra is not installed",
        "redis": None if os.environ.get(REDIS_URL) else f"no Redis server ({REDIS_URL} is unset)",
        "postgres": None
        if os.environ.get(POSTGRES_URL)
        else f"no PostgreSQL server ({POSTGRES_URL} is unset)",
    }


@pytest.fixture
def sdnext_dir(pytestconfig: pytest.Config) -> Path:
    """The SD.Next checkout of `--sdnext`; for tests marked `host`."""
    return Path(pytestconfig.getoption("--sdnext")).resolve(strict=True)


@pytest.fixture
def redis_url() -> str:
    """The one Redis of all tests (marker `redis`); each takes a name space of its own in it."""
    return os.environ[REDIS_URL]


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the newest schema and without a journal, which others are copies of.

    A copy is much quicker to make than the whole history is to go through.
    """
    file = tmp_path_factory.mktemp("migrated") / "migrated.sqlite3"
    _migrate(f"sqlite:///{file.as_posix()}")
    return file


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[PostgresDatabases]:
    """Databases of the server for tests; for tests marked `postgres`."""
    databases = PostgresDatabases(os.environ[POSTGRES_URL], _migrate)
    yield databases
    databases.close()


@pytest.fixture
def make_database_url(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., str]]:
    """Makes a database of this test's own, a `sqlite` file or in `postgres`; gives its URL.

    It has the newest schema, or nothing at all if it is to be `empty`.
    """
    numbers = count(1)
    with ExitStack() as given_back:

        def _make(kind: str, empty: bool = False) -> str:
            if kind == "sqlite":
                file = tmp_path / f"test{next(numbers)}.sqlite3"
                if not empty:
                    shutil.copyfile(request.getfixturevalue("migrated_sqlite"), file)
                return f"sqlite:///{file.as_posix()}"
            databases = request.getfixturevalue("postgres_databases")
            name = databases.borrow(empty=empty)
            given_back.callback(databases.give_back, name)
            return databases.url(name)

        yield _make


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, make_database_url: Callable[..., str]) -> str:
    """The URL of a database of this test's own: a SQLite file, then PostgreSQL."""
    return make_database_url(request.param)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with the newest schema, closed after the test."""
    opened = Database(database_url)
    try:
        opened.upgrade()
        yield opened
    finally:
        opened.close()


def _migrate(url: str) -> None:
    database = Database(url)
    database.upgrade()
    database.close()


class NetworkForbidden(RuntimeError):
    """A test tried to reach something beyond this machine."""


class _NetworkGuard:
    """An audit hook: it sees every socket of this process, asyncio's too, and patches nothing."""

    active = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active or not event.startswith("socket."):
            return
        host: object = None
        if event in ("socket.connect", "socket.sendto"):
            address = args[1]
            host = address[0] if isinstance(address, tuple) else None  # a str: a Unix socket
        elif event == "socket.getaddrinfo":
            host = args[0]
        if host is not None and not _is_loopback(host):
            raise NetworkForbidden(
                f"{event} to {host!r}: tests reach loopback addresses only. Give the HTTP client "
                "a transport (httpx.MockTransport), or start a small server on 127.0.0.1."
            )


def _is_loopback(host: object) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if name in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


_GUARD = _NetworkGuard()
sys.addaudithook(_GUARD)


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    """Nothing leaves the machine while a test runs, nor while its fixtures are built."""
    _GUARD.active = True
    yield
    _GUARD.active = False
