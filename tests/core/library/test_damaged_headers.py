"""A thousand files with damaged headers: each is listed with its reason, and nothing else happens.

`benchmarks/headers.py --damaged 100000` reads as many as one likes.
"""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_manager_core.library import facts, key_names, safetensors_header
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.reading import FileReaders
from lora_manager_core.library.walk import find_file, walk_roots
from tests.core.conftest import Home
from tests.fakes.damaged_headers import damaged_files, with_header
from tests.fakes.lora_files import write_lora

COUNT, SEED = 1000, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The damaged files, and a good one among them."""
    folder = tmp_path_factory.mktemp("damaged")
    for number, content in enumerate(damaged_files(COUNT, SEED)):
        (folder / f"damaged {number:04}.safetensors").write_bytes(content)
    write_lora(folder / "good.safetensors")
    return folder


def _forget() -> None:
    facts.forget_tables()
    safetensors_header.forget_tables()
    key_names.split_key.cache_clear()
    key_names.place_of.cache_clear()
    gc.collect()


def _read_some(folder: Path) -> None:
    for found in walk_roots([folder]).files[:200]:
        columns_from_file(found)


class TestReading:
    def test_each_tells_its_reason_and_no_helper_process_dies(self, folder, caplog) -> None:
        files = walk_roots([folder]).files
        batches = [files[start : start + 200] for start in range(0, len(files), 200)]
        with FileReaders(len(files), 1) as readers:
            rows = [row for batch in readers.batches(batches) for row in batch]
        assert [row["file_path"] for row in rows] == [found.path for found in files]
        assert "ended early" not in caplog.text
        reasons = [row["file_problem"] for row in rows]
        assert all(reason is None or str(folder) not in reason for reason in reasons)
        # Some damage leaves a file that can be read; how many do is fixed by the seed.
        assert COUNT / 2 < sum(reason is not None for reason in reasons) < COUNT
        assert rows[-1]["file_problem"] is None  # good.safetensors

    def test_memory_does_not_grow(self, folder: Path) -> None:
        _read_some(folder)
        _forget()
        tracemalloc.start()
        try:
            _read_some(folder)
            _forget()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(2):
                _read_some(folder)
            _forget()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # 100 bytes of each file would be more.
        assert after - before < 40_000


class TestScan:
    def test_lists_all_of_them(
        self, make_home: Callable[..., Home], folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        home = make_home(library_roots=(folder,))
        records = home.adapters() + home.adapters(page=2)
        assert len(records) == COUNT + 1
        by_name = {record["name"]: record["file_problem"] for record in records}
        for found in walk_roots([folder]).files:
            assert by_name[found.stem] == columns_from_file(found)["file_problem"]
        assert by_name["good"] is None
        assert home.scan()["unchanged"] == COUNT + 1
        assert "Traceback" not in caplog.text


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["F16", "BF16", "I64"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)
_parts = st.sampled_from(
    [
        "lora_down.weight", "lora_up.weight", "alpha", "hada_w1_a", "hada_w1_b", "lokr_w1",
        "lokr_w2_b", "lokr_t2", "oft_blocks", "weight", "on_input", "a1.weight", "diff",
    ]
)  # fmt: skip
_axes = st.lists(st.integers(0, 2**64 - 1), max_size=4).map(lambda axes: [*axes, 0])
_entries = st.builds(lambda shape: {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}, _axes)
_headers = st.dictionaries(
    st.tuples(st.sampled_from(["x", "lora_unet_down_blocks_1", "lora_te_a", ""]), _parts).map(
        ".".join
    ),
    _entries | _json,
    max_size=5,
)
_metadata = st.dictionaries(
    st.sampled_from(
        [
            "ss_tag_frequency", "ss_network_alpha", "ss_resolution", "modelspec.tags",
            "ss_base_model_version", "modelspec.architecture", "modelspec.description",
        ]
    ),
    _json | _json.map(json.dumps),
)  # fmt: skip


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(metadata=_metadata | _json, tensors=_headers)
def test_whatever_a_header_says_becomes_columns(tmp_path: Path, metadata, tensors) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(with_header({"__metadata__": metadata, **tensors}))
    row = columns_from_file(find_file(path, [tmp_path]))
    orjson.dumps(row)  # what a helper process answers with
    assert row["rank"] is None or 0 < row["rank"] < 2**31
