"""The reader in docs/archives.md reads what we write."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.core.conftest import Home

_PAGE = Path(__file__).parents[3] / "docs" / "archives.md"


def test_it_finds_the_adapters_of_an_export(home: Home, tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", _PAGE.read_text(encoding="utf-8"), re.M | re.S)
    answer = home.client.post("/v1/import-export/export", json={})
    (tmp_path / "loras.zip").write_bytes(answer.content)

    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert sorted(said) == [
        "Zebra ['Zebra.safetensors']",
        "alice ['alice.safetensors']",
        "ink_v2 ['ink.v2.safetensors']",
    ]
