"""Adds what this extension needs to SD.Next's own Python, and moves nothing that is there.

SD.Next runs it in a subprocess at start, in this folder, with its own folder as `PYTHONPATH`; it
may as well be run by hand with SD.Next's Python. Standard library only; never touches torch.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "extension"))

from lora_manager_ext.needed import SEMANTIC, Library, missing

#: A requirement that can be a constraint: a plain name, then versions; no extras, no address.
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*((?:[=<>!~]=|[<>]).+)$")
#: Left out of what must stay while versions are looked for; they are not installed then.
_BUILD_TOOLS = ("setuptools==", "wheel==", "pip==")
_HOST_FILES = ("constraints.txt", "requirements.txt")


def main() -> int:
    """Install what is missing; one line says what happened, the exit status whether it worked.

    That the text model could not be added is said and is no failure.
    """
    needed = add_needed()
    if needed is None:
        return 1
    semantic = add_semantic()
    print(f"LoRA Manager: {needed}{f'; {semantic}' if semantic else ''}")
    return 0


def add_needed() -> str | None:
    """What was done about what the extension needs; None, and a line is printed, if it failed."""
    libraries = missing()
    if not libraries:
        return "everything it needs is installed"
    constraints = constraint_lines(libraries, installed(), host_pins(host_folders()))
    done = run_pip(libraries, constraints)
    names = ", ".join(library.project for library in libraries)
    if done.returncode != 0:
        print(f"LoRA Manager: could not install {names}: {reason(done.stdout, done.stderr)}")
        return None
    still = [library.project for library in missing()]
    if still:
        print(f"LoRA Manager: pip said it installed {', '.join(still)}, but they are not there")
        return None
    return f"installed {names}"


def add_semantic() -> str | None:
    """What was done about the text model of recommendations; None if there was nothing to do.

    Two steps: pip finds versions that go with all that is installed, and then exactly those are
    added. In one step it would refuse, or move the host's setuptools, which torch asks to be newer
    than the host pins it.
    """
    libraries = missing(SEMANTIC)
    if not libraries:
        return None
    there = installed()
    constraints = constraint_lines(libraries, there, host_pins(host_folders()))
    found = run_pip(
        libraries,
        [line for line in constraints if not line.startswith(_BUILD_TOOLS)],
        *("--dry-run", "--quiet", "--report", "-"),
    )
    if found.returncode == 0:
        planned = planned_versions(found.stdout, there)
        found = run_pip(planned, [], "--no-deps")
    if found.returncode != 0:
        why = reason(found.stdout, found.stderr)
        return f"no text model, so recommendations compare words only: {why}"
    return "installed the text model of recommendations"


def planned_versions(report: str, installed_now: dict[str, str]) -> list[str]:
    """The requirements of a dry run's report, each with its version, for what is not there yet."""
    planned = [item["metadata"] for item in json.loads(report)["install"]]
    return [
        f"{project['name']}=={project['version']}"
        for project in planned
        if _key(project["name"]) not in installed_now
    ]


def run_pip(
    wanted: Sequence[Library | str], constraints: list[str], *options: str
) -> subprocess.CompletedProcess[str]:
    """Run pip with these constraints."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("\n".join(constraints) + "\n", encoding="utf-8")
        return subprocess.run(
            pip_command(wanted, file, *options), capture_output=True, text=True, errors="replace"
        )


def pip_command(wanted: Sequence[Library | str], constraints: Path, *options: str) -> list[str]:
    """The call of pip; all at once, so that it finds versions that go together."""
    return [
        *(sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"),
        *options,
        *("--constraint", str(constraints)),
        *(one.requirement if isinstance(one, Library) else one for one in wanted),
    ]


def constraint_lines(
    libraries: list[Library], installed_now: dict[str, str], pins: dict[str, str]
) -> list[str]:
    """What pip must leave as it is: all that is installed, and the host's pins for what is not.

    Only a library of ours that is too old may move, within what the host pins.
    """
    wanted = {_key(library.project) for library in libraries}
    frozen = {name: f"=={version}" for name, version in installed_now.items()}
    held = {name: versions for name, versions in frozen.items() if name not in wanted}
    held.update({name: versions for name, versions in pins.items() if name not in held})
    return [f"{name}{versions}" for name, versions in sorted(held.items())]


def installed() -> dict[str, str]:
    """Every installed project with its version."""
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and distribution.version:
            found.setdefault(_key(name), distribution.version)
    return found


def host_folders() -> list[Path]:
    """Where SD.Next may be: what it puts into PYTHONPATH, and two folders above this one."""
    paths = [Path(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return [*paths, Path.cwd().parents[1]] if len(Path.cwd().parents) > 1 else paths


def host_pins(folders: list[Path]) -> dict[str, str]:
    """The versions that the first of these folders that is an SD.Next asks for."""
    for folder in folders:
        if not (folder / "launch.py").is_file():
            continue
        pins: dict[str, str] = {}
        for name in _HOST_FILES:
            file = folder / name
            if file.is_file():
                pins.update(read_pins(file.read_text(encoding="utf-8", errors="replace")))
        return pins
    return {}


def read_pins(text: str) -> dict[str, str]:
    """The lines of a requirements file that can be constraints: name → versions."""
    pins = {}
    for line in text.splitlines():
        found = _PIN.match(line.partition("#")[0].strip())
        if found:
            pins[_key(found.group(1))] = found.group(2).strip()
    return pins


def reason(stdout: str, stderr: str) -> str:
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in (stdout + "\n" + stderr).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip gave no reason"])[-1]


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
