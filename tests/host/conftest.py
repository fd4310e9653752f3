"""Real hosts for the tests marked `host`: each configuration is started once, when first needed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.running import CONFIG, MODERN, PROJECT, RunningHost

#: A key of ours that the guarded host knows.
API_KEY = "lm_only-for-tests"

StartHost = Callable[..., RunningHost]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sdnext-python",
        metavar="FILE",
        help="the Python that runs SD.Next (default: ../venv beside the checkout, or its own venv)",
    )


@pytest.fixture(scope="session")
def checkout(pytestconfig: pytest.Config) -> Path:
    """The SD.Next of `--sdnext`."""
    return Path(pytestconfig.getoption("--sdnext")).resolve(strict=True)


@pytest.fixture(scope="session")
def host_python(pytestconfig: pytest.Config, checkout: Path) -> Path:
    """The Python that SD.Next runs on."""
    given = pytestconfig.getoption("--sdnext-python")
    places = [checkout / "venv", checkout / ".venv", checkout.parent / "venv"]
    files = [place / "bin" / "python" for place in places]
    for file in [Path(given)] if given else files:
        if file.exists():
            return file.absolute()  # not resolved: the link is what makes it a venv's Python
    raise pytest.UsageError("No Python of SD.Next found; give --sdnext-python.")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline and LoRA files that fit it, two pairs of which share a base name."""
    pytest.importorskip("diffusers", reason="the sample pipeline needs the `embedded` extra")
    from lora_manager_core.samples import build_sample_library, build_tiny_pipeline

    folder = tmp_path_factory.mktemp("models")
    build_tiny_pipeline(folder / "Diffusers" / "tiny-sd")
    loras = folder / "Lora"
    build_sample_library(loras)
    for copy, original in {
        "left/twin": "styles/amber_watercolor",
        "right/twin": "styles/ink_portrait",
        "lone": "styles/amber_watercolor",
        "hidden/lone": "styles/ink_portrait",
    }.items():
        target = loras / f"{copy}.safetensors"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(loras / f"{original}.safetensors", target)
    styles = folder / "styles"
    styles.mkdir()
    style = {"name": "brings amber", "prompt": "{prompt} <lora:amber_watercolor:0.3>"}
    (styles / "brings.json").write_text(json.dumps(style), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def start_host(
    checkout: Path, host_python: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartHost]:
    """Starts hosts; all of them are stopped at the end."""
    hosts: list[RunningHost] = []

    def _start(
        name: str,
        config: dict[str, Any] = CONFIG,
        extension: bool = True,
        relative_lora_dir: bool = False,
        **more: Any,
    ) -> RunningHost:
        folder = tmp_path_factory.mktemp(name)
        if relative_lora_dir:
            loras = os.path.relpath(folder / "models" / "Lora", checkout)
            more["flags"] = (*more.get("flags", ()), "--lora-dir", loras)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "extensions").mkdir()
        if extension:
            (folder / "extensions" / "lora-manager").symlink_to(PROJECT, target_is_directory=True)
        shutil.copytree(models, folder / "models")
        hosts.append(RunningHost(checkout, host_python, folder, **more).start())
        return hosts[-1]

    yield _start
    for host in hosts:
        host.stop()


@pytest.fixture(scope="session")
def standard(start_host: StartHost) -> RunningHost:
    """Standard UI, everything at its default."""
    host = start_host("standard")
    host.wait_for_scan()
    return host


@pytest.fixture(scope="session")
def modern(start_host: StartHost) -> RunningHost:
    """Modern UI and a relative LoRA folder, which most people have."""
    host = start_host("modern", MODERN, relative_lora_dir=True)
    host.wait_for_scan()
    return host


@pytest.fixture(scope="session")
def bare(start_host: StartHost) -> RunningHost:
    """The same host without us."""
    return start_host("bare", extension=False)


@pytest.fixture(scope="session")
def guarded(start_host: StartHost) -> RunningHost:
    """With `--auth`; its client is logged in by HTTP Basic."""
    host = start_host(
        "guarded",
        flags=("--auth", "ada:lovelace,bob:pa:ss"),
        auth=("ada", "lovelace"),
        env={"LORA_MANAGER_API_KEY": API_KEY},
    )
    host.wait_for_scan()
    return host
