"""A real Chromium against real servers: the stand-alone one, and a Gradio page with our tab."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_PROJECT = Path(__file__).parents[2]
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: What a start with torch and a first picture may take on two busy cores.
PATIENCE_MS = 60_000


@dataclass
class Samples:
    """The sample library and the tiny pipeline."""

    library: Path
    model: Path


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Built once, in a process of their own: torch need not be loaded here."""
    folder = tmp_path_factory.mktemp("samples")
    made = Samples(folder / "loras", folder / "tiny-sd")
    script = (
        "import sys, pathlib; from lora_manager_core.samples import *;"
        "build_sample_library(pathlib.Path(sys.argv[1]));"
        "build_tiny_pipeline(pathlib.Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(made.library), str(made.model)], check=True, timeout=300
    )
    return made


@contextmanager
def serve(*command: str) -> Iterator[str]:
    """Run a server that takes its port where the command says PORT; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    arguments = [part.replace("PORT", str(port)) for part in command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen([sys.executable, *arguments], cwd=_PROJECT, env=environment)
    try:
        _wait_for(f"{url}/v1/health", process)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended before it answered"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(_ARGUMENTS)
        )
        yield opened
        opened.close()


@dataclass
class Tab:
    """A page with everything that went wrong in it."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def by(self, testid: str) -> Any:
        """The elements with that test id."""
        return self.page.locator(f"#lora_manager [data-testid={testid}]")

    def card(self, name: str) -> Any:
        """The card of one adapter."""
        return self.page.locator(f'#lora_manager [data-testid=lm-card][data-name="{name}"]')


@pytest.fixture
def open_tab(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open an address; the test fails at its end if the page logged an error."""
    tabs: list[Tab] = []

    def _open(url: str, **context: Any) -> Tab:
        opened = browser.new_context(viewport={"width": 1400, "height": 1000}, **context)
        # Gradio's page asks for fonts and counters elsewhere: answered with nothing.
        opened.route(
            lambda address: not address.startswith("http://127.0.0.1:"),
            lambda route: route.fulfill(status=200, body=""),
        )
        page = opened.new_page()
        page.set_default_timeout(PATIENCE_MS)
        tab = Tab(page)
        page.on("pageerror", lambda error: tab.errors.append(str(error)))
        page.on(
            "console",
            lambda message: tab.errors.append(message.text) if message.type == "error" else None,
        )
        tabs.append(tab)
        page.goto(url)
        return tab

    yield _open
    folder = Path(os.environ.get("LORA_TEST_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    for number, tab in enumerate(tabs):
        name = os.environ.get("PYTEST_CURRENT_TEST", "page").rpartition("::")[2].split(" ")[0]
        tab.page.screenshot(path=folder / f"{name}-{number}.png")
        tab.page.context.close()
    assert [error for tab in tabs for error in tab.errors] == []
