"""A Redis and a PostgreSQL of `./check`'s own: on free ports, in a temporary folder, gone after.

Standard library only. Where a server's programs are missing it is left out; where they are there
and do not start, that is an error.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

_READY_WITHIN_S = 30.0
#: PostgreSQL refuses to run as root, so root runs it as the user Debian's package made for it.
_POSTGRES_USER = "postgres"
#: Where Linux has a file system in memory. A database of a test's own is 350 files, which are made
#: and removed several times as fast there as on a disk.
_IN_MEMORY = Path("/dev/shm")
#: What both halves of the tests leave free there: two servers with their logs are a quarter of it.
_ENOUGH_MEMORY_BYTES = 2 * 1024**3


class ServerFailed(Exception):
    """A server that is installed did not start; the message holds the end of its log."""


@contextmanager
def own_servers() -> Iterator[dict[str, str]]:
    """Start what is installed; gives the environment variables that tell the tests of it."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="lora-check-", dir=_where()))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)  # PostgreSQL's user must get through to its own folder
        environment = {}
        if redis := stack.enter_context(_redis(folder / "redis")):
            environment["LORA_TEST_REDIS_URL"] = redis
        if postgres := stack.enter_context(_postgres(folder / "postgres")):
            environment["LORA_TEST_POSTGRES_URL"] = postgres
        yield environment


def _where() -> Path | None:
    """The folder for the servers' files; None for the usual place of temporary ones."""
    if not os.access(_IN_MEMORY, os.W_OK):
        return None
    return _IN_MEMORY if shutil.disk_usage(_IN_MEMORY).free >= _ENOUGH_MEMORY_BYTES else None


@contextmanager
def _redis(folder: Path) -> Iterator[str | None]:
    binary = shutil.which("redis-server")
    if binary is None:
        yield None
        return
    folder.mkdir()
    port = _free_port()
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with _running([binary, "--port", str(port), *options], folder / "log", signal.SIGTERM, {}):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _postgres(folder: Path) -> Iterator[str | None]:
    binaries = _postgres_binaries()
    as_user = _as_postgres_user()
    if binaries is None or as_user is None:
        yield None
        return
    folder.mkdir()
    if "user" in as_user:
        shutil.chown(folder, as_user["user"], as_user["group"])
    initdb = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "lora", "-A", "trust"]
    made = subprocess.run(
        [*initdb, "-E", "UTF8", "--locale=C", "--no-sync"],
        cwd=folder,
        capture_output=True,
        text=True,
        **as_user,
    )
    if made.returncode:
        raise ServerFailed(f"initdb failed:\n{made.stdout}{made.stderr}")
    port = _free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_wal_size": "256MB",
        "max_connections": "200",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port), *options]
    # SIGINT is PostgreSQL's "fast shutdown": it does not wait for clients.
    with _running(command, folder / "log", signal.SIGINT, as_user):
        yield f"postgresql://lora@127.0.0.1:{port}/postgres"


def _postgres_binaries() -> Path | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found and shutil.which("postgres") else None


def _as_postgres_user() -> dict[str, Any] | None:
    """Arguments for `subprocess` that drop root; None if root has nobody to become."""
    if os.name == "nt" or os.geteuid() != 0:
        return {}
    import pwd

    try:
        entry = pwd.getpwnam(_POSTGRES_USER)
    except KeyError:
        return None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def _running(
    command: list[str], log: Path, stop_signal: int, options: Mapping[str, Any]
) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us: the servers stop after the tests that use them.
            start_new_session=os.name != "nt",
            **options,
        )
    try:
        _wait_until_ready(process, log)
        yield
    finally:
        process.send_signal(stop_signal if os.name != "nt" else signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        # The open port would not do: PostgreSQL opens it before it can answer. Both say so here.
        if "ready to accept connections" in _text(log).lower():
            return
        time.sleep(0.05)
    raise ServerFailed(f"{log.parent.name} did not start:\n{_text(log)[-2000:]}")


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
