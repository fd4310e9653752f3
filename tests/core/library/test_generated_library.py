"""A generated library with a manifest: a scan lists every file and names the base it tells."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_manager_core.common.base_labels import normalise_label
from tests.core.conftest import Home

GENERATOR = Path(__file__).parents[4] / "shared" / "tools" / "make_lora_library.py"
COUNT = 300
#: Files are told right if the label is this one or, for Wan, any of its models.
WAN = "Wan"

pytestmark = pytest.mark.skipif(
    not GENERATOR.is_file(), reason="shared/ does not lie beside the checkout"
)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, dict[str, str]]:
    """The folder, its manifest, and the label that files in each folder of a base have."""
    spec = importlib.util.spec_from_file_location("make_lora_library", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("generated")
    truth = module.generate(root, COUNT, 2048, 11)
    return root, truth, {base[3]: normalise_label(base[0]) for base in module.BASES}


def test_everything_is_listed_and_named(make_home: Callable[..., Home], generated) -> None:
    root, truth, label_of = generated
    home = make_home(library_roots=(root,))
    records = home.adapters()
    files = {str(path.relative_to(root)): path for path in root.rglob("*.safetensors")}
    listed = Counter(str(Path(record["file_path"]).relative_to(root)) for record in records)
    assert listed == Counter(dict.fromkeys(files, 1))
    assert len(records) == truth["count"] == COUNT
    copies = {name for group in truth["duplicate_groups"].values() for name in group[1:]}
    wrong = []
    for record in records:
        assert record["file_problem"] is None
        relative = str(Path(record["file_path"]).relative_to(root))
        if relative in copies:  # they lie in another base's folder on purpose
            continue
        found, expected = record["base_model"], label_of[Path(relative).parts[0]]
        if found != expected and not (found == WAN and expected.startswith(WAN)):
            wrong.append((relative, found, record["base_model_source"]))
        assert 0 < record["base_model_confidence"] <= 1
    assert len(wrong) <= COUNT / 100, wrong
