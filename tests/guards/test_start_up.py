"""Starting costs no model and no arrays: neither the server nor the extension loads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: numpy alone takes a tenth of a second, torch several; they come with the first question.
FORBIDDEN = (
    "torch",
    "sentence_transformers",
    "transformers",
    "tokenizers",
    "faiss",
    "numpy",
)
_ROOT = Path(__file__).resolve().parents[2]

_SERVER = """
import json, sys
from pathlib import Path
from starlette.testclient import TestClient
from lora_manager_core.app import create_app
from lora_manager_core.bootstrap import build_application
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys

application = build_application(Settings(data_dir=Path("data"), library_roots=(Path("library"),)))
access = StandAloneAccess(application.services.get(ApiKeys))
with TestClient(create_app(application, access), base_url="http://127.0.0.1:7862") as client:
    assert client.get("/v1/health").status_code == 200
    assert client.get("/v1/openapi.json").status_code == 200
    print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))
"""

#: What the host runs while it starts, but for what needs the host itself.
_EXTENSION = """
import importlib, json, pkgutil, sys
import lora_manager_ext
for module in pkgutil.iter_modules(lora_manager_ext.__path__, "lora_manager_ext."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        assert (error.name or "").split(".")[0] in ("modules", "gradio", "installer"), error
print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))
"""


@pytest.mark.parametrize(
    "program", [pytest.param(_SERVER, id="server"), pytest.param(_EXTENSION, id="extension")]
)
def test_nothing_heavy_is_loaded(program: str, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    path = os.pathsep.join([str(_ROOT), str(_ROOT / "extension")])

    done = subprocess.run(
        [sys.executable, "-c", program, *FORBIDDEN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [], (
        "These are loaded at start. Import numpy at the top only of modules that are themselves "
        "imported inside functions, at first use (see `recommendations.answers.service`)."
    )
