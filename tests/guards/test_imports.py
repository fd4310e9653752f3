"""Importing the core is cheap and leaves no trace: no heavy library, no thread, no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: Each is imported inside the function or class that needs it (or never, by the core).
FORBIDDEN = (
    "accelerate",
    "diffusers",
    "faiss",
    "gradio",
    "installer",
    "launch",
    "modules",
    "peft",
    "prometheus_client",
    "pynvml",
    "redis",
    "rq",
    "sentence_transformers",
    "torch",
    "transformers",
)

#: Runs in a process of its own, where nothing was imported before.
_PROGRAM = """
import importlib, json, os, pkgutil, sys, threading

touched = []
def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(flags, int) else 0
        if writes and path != os.devnull:
            touched.append(f"open {path}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "socket.bind", "socket.connect",
                   "sqlite3.connect", "subprocess.Popen"):
        touched.append(f"{event} {arguments[:1]}")
sys.addaudithook(watch)

import lora_manager_core
names = ["lora_manager_core"] + [
    module.name
    for module in pkgutil.walk_packages(lora_manager_core.__path__, "lora_manager_core.")
    if not module.name.endswith("__main__")
]
blame = {}
for name in names:
    importlib.import_module(name)
    for loaded in json.loads(sys.argv[1]):
        if loaded in sys.modules:
            blame.setdefault(loaded, name)
print(json.dumps({
    "modules": names,
    "blame": blame,
    "touched": touched,
    "threads": [thread.name for thread in threading.enumerate()],
}))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What importing every module of the core did."""
    folder = tmp_path_factory.mktemp("elsewhere")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(FORBIDDEN)],
        cwd=folder,
        # A home of its own: what is created there would be found, and is nobody's.
        env={
            **os.environ,
            "HOME": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(root),
        },
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "left": [str(path) for path in folder.rglob("*")]}


def test_every_module_of_the_core_was_imported(outcome: dict[str, Any]) -> None:
    assert {"lora_manager_core.settings", "lora_manager_core.queueing.runner"} <= set(
        outcome["modules"]
    )


def test_no_heavy_library_is_loaded(outcome: dict[str, Any]) -> None:
    assert outcome["blame"] == {}, (
        "Importing these modules of ours loads these libraries. Move the import into the function "
        "or class that needs it; for type hints use `if TYPE_CHECKING:`."
    )


def test_no_thread_is_started(outcome: dict[str, Any]) -> None:
    assert outcome["threads"] == ["MainThread"], "Start threads in `start()`, not at import."


def test_nothing_is_opened_or_created(outcome: dict[str, Any]) -> None:
    assert (outcome["touched"], outcome["left"]) == ([], []), (
        "Nothing is created at import: build it in `bootstrap.build_application` or on first use."
    )
