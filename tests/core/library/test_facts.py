"""Everything a scan stores about one file."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.library.base_model import normalise_label
from lora_manager_core.library.facts import MAX_TAGS, AdapterFacts, read_facts
from lora_manager_core.library.side_files import SideFacts, read_side_files

GENERATOR = Path(__file__).parents[4] / "shared" / "tools" / "make_lora_library.py"
SIDE = SideFacts(name="Side", trained_words=("side",), base_model="Pony", tags=("t",))


def write(path: Path, metadata: dict[str, Any], alpha: float = 4.0, rank: int = 2) -> Path:
    document = {
        "__metadata__": metadata,
        "m.alpha": {"dtype": "F16", "shape": [], "data_offsets": [0, 2]},
        "m.lora_down.weight": {
            "dtype": "F16",
            "shape": [rank, 1],
            "data_offsets": [2, 2 + 2 * rank],
        },
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    data = struct.pack("<e", alpha) + b"\0" * 2 * rank
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


@pytest.fixture
def facts_of(tmp_path: Path):
    def facts_of(
        metadata: dict[str, Any], side: SideFacts | None = None, **more: Any
    ) -> AdapterFacts:
        return read_facts(write(tmp_path / "thing.safetensors", metadata, **more), side, "")

    return facts_of


class TestMetadata:
    def test_is_read(self, facts_of) -> None:
        facts = facts_of(
            {
                "modelspec.title": "Hero", "modelspec.author": "me", "modelspec.tags": "a, b, a",
                "modelspec.description": "<p>d</p>", "modelspec.thumbnail": "data:image/png,x",
                "ss_resolution": "(512, 768)", "ss_steps": "1200", "ss_num_train_images": "40",
                "ss_num_epochs": "10", "ss_learning_rate": "0.0001", "ss_seed": "None",
                "sshs_model_hash": "abc",
            }
        )  # fmt: skip
        assert (facts.title, facts.author, facts.description) == ("Hero", "me", "d")
        assert facts.tags == ("a", "b")
        assert facts.resolution == "512x768"
        assert facts.training == {
            "steps": 1200, "images": 40, "epochs": 10, "learning_rate": "0.0001"
        }  # fmt: skip
        assert facts.model_hash == "abc"
        assert facts.has_thumbnail
        assert (facts.network_type, facts.rank, facts.problem) == ("lora", 2, None)

    def test_a_side_file_goes_before_it(self, facts_of) -> None:
        facts = facts_of({"modelspec.title": "x", "modelspec.trigger_phrase": "y"}, SIDE)
        assert (facts.title, facts.trained_words, facts.tags) == ("Side", ("side",), ("t",))
        assert facts.trained_words_source == "side file"

    @pytest.mark.parametrize(
        ("text", "resolution"),
        [("1024x1024", "1024x1024"), ("512", "512x512"), ("(512, 512)", "512x512"), ("big", None),
         ("1,2,3", None), ("", None)],
    )  # fmt: skip
    def test_resolution(self, facts_of, text: str, resolution: str | None) -> None:
        assert facts_of({"modelspec.resolution": text}).resolution == resolution


class TestAlpha:
    @pytest.mark.parametrize("told", [None, "None", "", "nan", "0", "many"])
    def test_is_read_from_its_tensor_where_the_metadata_tells_none(self, facts_of, told) -> None:
        metadata = {} if told is None else {"ss_network_alpha": told}
        assert facts_of(metadata, alpha=4.0).alpha == 4.0

    def test_metadata_first(self, facts_of) -> None:
        assert facts_of({"ss_network_alpha": "16.0"}, alpha=4.0).alpha == 16.0


class TestDatasetTags:
    def test_are_summed_over_folders_and_cut_off(self, facts_of) -> None:
        folders = {
            "10_hero": {"hero": 30, "smile": 20, **{f"rare{n}": 1 for n in range(200)}},
            "5_hero2": {"hero": 5, "hat": 7},
        }
        facts = facts_of({"ss_tag_frequency": json.dumps(folders)})
        assert len(facts.tag_frequency) == MAX_TAGS
        assert list(facts.tag_frequency.items())[:3] == [("hero", 35), ("smile", 20), ("hat", 7)]

    @pytest.mark.parametrize(
        ("folders", "trigger"),
        [
            ({"10_hero": {"1girl": 50, "hero": 40}}, "hero"),
            ({"10_Hero Cape": {"hero_cape": 40, "smile": 39}}, "hero_cape"),
            ({"img": {"her0ine": 40, "smile": 39}}, "her0ine"),
            ({"img": {"zorblax": 40, "smile": 10}}, "zorblax"),
            ({"img": {"1girl": 90, "smile": 10}}, None),
            ({"10_solo": {"solo": 90, "smile": 10}}, None),
            ({"img": {"a long sentence": 90, "smile": 10}}, None),
        ],
        ids=["folder name", "folder with spaces", "letters and digits", "far ahead", "everyday tag",
             "everyday folder", "caption"],
    )  # fmt: skip
    def test_the_likely_trigger(self, facts_of, folders, trigger: str | None) -> None:
        facts = facts_of({"ss_tag_frequency": json.dumps(folders)})
        assert facts.trained_words == ((trigger,) if trigger else ())

    def test_the_trigger_phrase_goes_before_them(self, facts_of) -> None:
        metadata = {"ss_tag_frequency": '{"1_a":{"a":3}}', "modelspec.trigger_phrase": "b, c"}
        facts = facts_of(metadata)
        assert (facts.trained_words, facts.trained_words_source) == (("b", "c"), "metadata")

    @pytest.mark.parametrize(
        "text",
        ["{", "[]", "{}", '{"a":[]}', '{"a":{}}', '{"a":{"b":"c"}}', '{"a":{"b":1},"c":{"b":"x"}}',
         '{"a":{"b":1.5}}', '{"a":{"b":null,"c":1}}', '{"":{"":1}}', '{"a":{"b":true}}'],
    )  # fmt: skip
    def test_malformed_ones_are_passed_over(self, facts_of, text: str) -> None:
        facts = facts_of({"ss_tag_frequency": text})
        assert facts.problem is None
        assert all(type(count) is int for count in facts.tag_frequency.values())


class TestUnreadableFiles:
    def test_say_why_and_keep_what_side_files_tell(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.safetensors"
        path.write_bytes(b"nothing")
        facts = read_facts(path, SIDE, "")
        assert facts.problem == "the file is too short to be a safetensors file"
        assert (facts.title, facts.base_model, facts.trained_words) == ("Side", "Pony", ("side",))

    @pytest.mark.parametrize("ending", [".pt", ".CKPT"])
    def test_pickles_are_never_opened(self, tmp_path: Path, ending: str) -> None:
        facts = read_facts(tmp_path / f"absent{ending}", SIDE, "sd15")
        assert (facts.network_type, facts.problem, facts.base_model) == (None, None, "Pony")
        assert facts.base_model_source == "side file"


class TestNames:
    def test_the_folder_may_tell_the_base(self, tmp_path: Path) -> None:
        path = write(tmp_path / "thing.safetensors", {})
        facts = read_facts(path, None, str(Path("pony", "styles")))
        assert (facts.base_model, facts.base_model_source) == ("Pony", "name")
        assert facts.base_model_confidence <= 0.5


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory):
    """The generator, the folder of 200 generated files, and its ground truth."""
    spec = importlib.util.spec_from_file_location("make_lora_library", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("library")
    return module, root, module.generate(root, 200, 4096, 7)


@pytest.mark.skipif(not GENERATOR.is_file(), reason="shared/ does not lie beside the checkout")
class TestGeneratedLibrary:
    def test_every_base_model_is_found(self, library) -> None:
        module, root, truth = library
        label_of = {base[3]: normalise_label(base[0]) for base in module.BASES}
        copies = {name for group in truth["duplicate_groups"].values() for name in group[1:]}
        wrong = []
        for path in sorted(root.rglob("*.safetensors")):
            relative = path.relative_to(root)
            if str(relative) in copies:  # lies under another name and folder on purpose
                continue
            names = {p.name.lower(): p.name for p in path.parent.iterdir()}
            side = read_side_files(str(path.parent), path.stem, names)
            assert side.problems == ()
            # The folder would give it away: it speaks only where nothing else does.
            told = read_facts(path, side, "")
            facts = told if told.base_model else read_facts(path, side, str(relative.parent))
            expected = label_of[relative.parts[0]]
            exact = facts.base_model == expected
            if not exact and not (facts.base_model_source == "name" and expected.startswith("Wan")):
                wrong.append((str(relative), facts.base_model, facts.base_model_source))
        assert wrong == []

    def test_side_files_say_what_the_manifest_says(self, library) -> None:
        _, root, truth = library
        bases: Counter[str] = Counter()
        tags: Counter[str] = Counter()
        for path in root.rglob("*.safetensors"):
            names = {p.name.lower(): p.name for p in path.parent.iterdir()}
            side = read_side_files(str(path.parent), path.stem, names)
            if side.base_model:
                bases[side.base_model] += 1
                tags.update(side.tags)
                assert side.preview_path is not None
        assert bases == truth["sidecar_base_models"]
        assert tags == truth["sidecar_tags"]

    def test_ranks_alphas_and_triggers(self, library) -> None:
        _, root, _ = library
        for path in root.rglob("*.safetensors"):
            facts = read_facts(path, None, "")
            assert facts.network_type == "lora"
            assert facts.rank in {4, 8, 16, 32}
            assert facts.alpha == facts.rank / 2
            assert facts.base_model_source != "structure"
            assert len(facts.trained_words) == bool(facts.tag_frequency)
