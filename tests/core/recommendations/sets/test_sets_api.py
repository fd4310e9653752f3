"""Sets over HTTP: composing, judging, near-duplicates, and the warnings of a composition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from lora_manager_core.backends.base import BackendStatus
from lora_manager_core.common.clock import utc_now
from tests.core.conftest import Home
from tests.fakes.embedded_adapters import random_sketch, store_sketch
from tests.fakes.lora_files import write_lora
from tests.fakes.runs import add_run
from tests.fakes.word_embedder import WordEmbedder

URL = "/v1/recommendations"

DESCRIBED = {
    "alice": ("Alice, a girl with red hair", ["character"]),
    "ink_v2": ("ink wash drawing", ["style"]),
    "Zebra": ("zebra stripes", ["animal"]),
}


@pytest.fixture
def described(home: Home) -> Home:
    """The library, described; without a text model, so words count, and without a checkpoint."""
    home.backend.status = BackendStatus("sdnext", True, None, None, None)
    for name, (text, tags) in DESCRIBED.items():
        change(home, name, description=text, tags=tags, base_model="SDXL")
    return home


def change(home: Home, name: str, **fields: Any) -> None:
    answer = home.client.patch(f"/v1/adapters/{home.adapter(name)['id']}", json=fields)
    assert answer.status_code == 200, answer.text


def post(home: Home, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = home.client.post(f"{URL}/{path}", json=body)
    assert answer.status_code == status, answer.text
    given: dict[str, Any] = answer.json()
    return given


def names(composed: dict[str, Any]) -> list[str]:
    return [adapter["lora_name"] for adapter in composed["adapters"]]


def like(sketch: NDArray[np.float32], cosine: float, seed: int) -> NDArray[np.float32]:
    """A sketch with about that cosine to another."""
    other = random_sketch(seed)
    other -= float((other * sketch).sum()) * sketch
    other /= np.linalg.norm(other)
    mixed = cosine * sketch + np.sqrt(1 - cosine**2) * other
    return np.asarray(mixed, np.float32)


def sketch_all(home: Home, **cosines: float) -> None:
    """Give every adapter a sketch: `alice` one, the others with these cosines to hers."""
    database = home.application.database
    first = random_sketch(1)
    store_sketch(database, home.adapter("alice")["id"], first, norm=2.0)
    for seed, (name, cosine) in enumerate(cosines.items(), start=2):
        sketch = like(first, cosine, seed)
        store_sketch(database, home.adapter(name)["id"], sketch, norm=3.0)


class TestComposing:
    def test_takes_the_best_of_each_part(self, described: Home) -> None:
        composed = post(described, "compose", prompt="red hair girl, masterpiece, ink wash")
        assert names(composed) == ["alice", "ink_v2"]
        first, second = composed["adapters"]
        assert (first["segment"], first["role"]) == ("red hair girl", "character")
        assert (second["segment"], second["role"]) == ("ink wash", "style")
        assert composed["prompt"] == (
            "red hair girl, masterpiece, ink wash <lora:alice:0.570> <lora:ink_v2:0.570>"
        )
        assert composed["tokens"] == ["<lora:alice:0.570>", "<lora:ink_v2:0.570>"]
        assert composed["mode"] == "lexical"
        assert any("words of the prompt" in reason for reason in first["reasons"])
        assert composed["activated"] is False
        assert not any(record["active"] for record in described.adapters())

    def test_by_vectors(self, make_home: Callable[..., Home]) -> None:
        home = make_home(text_model=WordEmbedder())
        for name, (text, tags) in DESCRIBED.items():
            change(home, name, description=text, tags=tags)
        ids = [record["id"] for record in home.adapters()]
        body = {"adapter_ids": ids}
        done = home.client.post(f"{URL}/embeddings/compute", json=body)
        assert done.status_code == 200, done.text
        composed = post(home, "compose", prompt="a zebra with stripes")
        assert (composed["mode"], names(composed)) == ("semantic", ["Zebra"])

    @pytest.mark.parametrize("later", [False, True])
    def test_becomes_the_active_set(self, described: Home, later: bool) -> None:
        change(described, "Zebra", active=True)
        prompt = "ink wash, girl with red hair"
        composed = post(described, "compose", prompt=prompt, activate=not later)
        if later:
            done = post(described, f"compose/{composed['session_id']}/activate")
            assert done["lora_ids"] == [a["lora_id"] for a in composed["adapters"]]
        active = described.adapters(active_only=True)
        assert {a["name"]: (a["weight"], a["ordinal"]) for a in active} == {
            "ink_v2": (0.57, 0),
            "alice": (0.57, 1),
        }
        log = described.client.get(f"{URL}/feedback").json()["items"]
        assert {(i["feedback_type"], i["implicit_signal"], i["shown"]) for i in log} == {
            ("activated", True, True)
        }

    def test_unknown_set_cannot_be_made_active(self, home: Home) -> None:
        problem = post(home, "compose/nobody/activate", status=404)
        assert problem["code"] == "session_not_found"

    def test_a_set_with_an_adapter_that_is_gone_changes_nothing(self, described: Home) -> None:
        change(described, "Zebra", active=True)
        composed = post(described, "compose", prompt="ink wash, girl with red hair")
        gone = described.adapter("alice")["id"]
        described.client.delete(f"/v1/adapters/{gone}")
        problem = post(described, f"compose/{composed['session_id']}/activate", status=404)
        assert problem["unknown_ids"] == [gone]
        assert [a["name"] for a in described.adapters(active_only=True)] == ["Zebra"]

    def test_nothing_that_fits_is_said(self, described: Home) -> None:
        composed = post(described, "compose", prompt="submarine")
        assert composed["adapters"] == []
        assert "No adapter fits any part" in composed["hint"]
        problem = post(described, "compose", prompt="submarine", activate=True, status=400)
        assert problem["code"] == "invalid_request"

    @pytest.mark.parametrize("prompt", ["", "  \n"])
    def test_an_empty_prompt_is_refused(self, home: Home, prompt: str) -> None:
        assert post(home, "compose", prompt=prompt, status=400)["code"] == "invalid_request"

    def test_only_quality_words_give_nothing(self, described: Home) -> None:
        composed = post(described, "compose", prompt="masterpiece, best quality")
        assert composed["adapters"] == []
        assert "no words to look for" in composed["hint"]

    def test_one_character_is_enough(self, described: Home) -> None:
        change(described, "Zebra", tags=["character"])
        composed = post(described, "compose", prompt="zebra stripes, girl with red hair")
        assert names(composed) == ["Zebra"]
        (over,) = [p for p in composed["passed_over"] if p["lora_name"] == "alice"]
        assert over["reason"] == "one character is enough, and “Zebra” was first"

    def test_bases_that_no_checkpoint_fits_both_of_are_not_mixed(self, described: Home) -> None:
        change(described, "Zebra", base_model="SD 1.5")
        composed = post(described, "compose", prompt="ink wash, zebra stripes")
        assert names(composed) == ["ink_v2"]
        assert "SD 1.5" in composed["passed_over"][0]["reason"]
        composed = post(described, "compose", prompt="ink wash, zebra stripes", base_model="sd1.5")
        assert (composed["base_model"], names(composed)) == ("SD 1.5", ["Zebra"])

    def test_near_duplicates_are_dropped(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.99, Zebra=0.0)
        composed = post(described, "compose", prompt="red hair girl, ink wash, zebra stripes")
        assert names(composed) == ["alice", "Zebra"]
        assert "nearly the same file as “alice”" in composed["passed_over"][0]["reason"]

    def test_limit(self, described: Home) -> None:
        prompt = "red hair girl, ink wash, zebra stripes"
        assert len(post(described, "compose", prompt=prompt)["adapters"]) == 3
        assert names(post(described, "compose", prompt=prompt, limit=1)) == ["alice"]


class TestWeights:
    def test_are_those_it_was_used_at(self, described: Home) -> None:
        alice = described.adapter("alice")["id"]
        change(described, "alice", weight=0.9)
        for weight in (0.4, 0.7, 0.6):
            add_run(described.application.database, utc_now(), {alice: weight})
        assert self._weight(described) == (0.6, "own_median")

    def test_else_what_the_record_says(self, described: Home) -> None:
        change(described, "alice", weight=0.9, weight_min=0.2, weight_max=0.7)
        assert self._weight(described) == (0.7, "record")

    def test_else_the_middle_of_its_range(self, described: Home) -> None:
        change(described, "alice", weight_min=0.2, weight_max=0.6)
        assert self._weight(described) == (pytest.approx(0.4), "range")

    def test_else_shared_out(self, described: Home) -> None:
        assert self._weight(described) == (0.8, "shared_out")

    @staticmethod
    def _weight(home: Home) -> tuple[float, str]:
        (alice,) = post(home, "compose", prompt="girl with red hair")["adapters"]
        return alice["weight"], alice["weight_source"]


class TestCompatibility:
    def test_tells_pairs_totals_and_risks(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.8, Zebra=0.0)
        ids = {name: described.adapter(name)["id"] for name in DESCRIBED}
        answer = post(
            described,
            "compatibility",
            adapter_ids=list(ids.values()),
            weights={ids["alice"]: 0.5, ids["ink_v2"]: -1.0},
        )
        pairs = {tuple(pair["lora_names"]): pair for pair in answer["pairs"]}
        close = pairs["alice", "ink_v2"]
        assert close["cosine"] == pytest.approx(0.8, abs=1e-3)
        assert (close["relation"], close["uncertainty"], close["overlap"]) == (
            "lineage",
            0.014,
            None,
        )
        assert pairs["alice", "Zebra"]["relation"] == "unrelated"
        totals = answer["totals"]
        assert totals["strength"] == pytest.approx(0.5 * 2 + 3 + 3)
        cosine = pairs["ink_v2", "Zebra"]["cosine"]
        combined = 1 + 9 + 9 - 2 * 3 * close["cosine"] - 2 * 9 * cosine
        combined += 2 * 3 * pairs["alice", "Zebra"]["cosine"]
        assert totals["combined"] == pytest.approx(combined**0.5, abs=1e-3)
        (risk,) = answer["risks"]
        assert (risk["code"], risk["lora_ids"]) == ("opposed", [ids["alice"], ids["ink_v2"]])
        assert answer["reliability"]["spearman_with_damage"]["norm_sum"] == 0.47

    def test_of_files_themselves(self, make_home: Callable[..., Home], library: Path) -> None:
        alice = library / "characters" / "alice.safetensors"
        weaker = {k: v * np.float16(0.5) if "up" in k else v for k, v in load_file(alice).items()}
        save_file(weaker, library / "characters" / "weaker.safetensors")
        home = make_home()
        ids = [home.adapter(name)["id"] for name in ("alice", "weaker", "ink_v2")]
        answer = post(home, "compatibility", adapter_ids=ids, exact=True)
        twins, apart, _ = answer["pairs"]
        assert twins["cosine"] == pytest.approx(1, abs=1e-3)
        assert twins["overlap"] == pytest.approx(1 - 4 / 320, abs=1e-2)
        assert (twins["relation"], twins["uncertainty"]) == ("near_duplicate", 0)
        assert abs(apart["cosine"]) < 0.1
        first, second, _ = (member["norm"] for member in answer["adapters"])
        assert second == pytest.approx(first / 2, rel=1e-3)
        assert [risk["code"] for risk in answer["risks"]] == ["near_duplicate"]

    def test_says_what_was_not_compared_and_why(self, described: Home, library: Path) -> None:
        (library / "old.pt").write_bytes(b"never opened")
        described.scan()
        store_sketch(described.application.database, described.adapter("alice")["id"], None)
        ids = [described.adapter(name)["id"] for name in ("alice", "old")]
        for exact in (False, True):
            answer = post(described, "compatibility", adapter_ids=ids, exact=exact)
            reasons = {one["lora_name"]: one["reason"] for one in answer["not_compared"]}
            assert "only .safetensors files are opened" in reasons["old"]
            assert ("OFT" in reasons.get("alice", "")) is not exact
            assert answer["pairs"] == []

    def test_a_damaged_file_is_named(self, make_home: Callable[..., Home], library: Path) -> None:
        home = make_home()
        ids = [home.adapter(name)["id"] for name in ("alice", "Zebra")]
        (library / "characters" / "alice.safetensors").write_bytes(b"damaged")
        answer = post(home, "compatibility", adapter_ids=ids, exact=True)
        assert [one["lora_name"] for one in answer["not_compared"]] == ["alice"]
        assert answer["adapters"][0]["norm"] is None

    def test_bases_that_differ_are_a_risk(self, described: Home) -> None:
        change(described, "Zebra", base_model="SD 1.5")
        ids = [described.adapter(name)["id"] for name in ("alice", "Zebra")]
        answer = post(described, "compatibility", adapter_ids=ids)
        assert [risk["code"] for risk in answer["risks"]] == ["base_models_differ"]

    def test_unknown_ids_are_named(self, described: Home) -> None:
        ids = [described.adapter("alice")["id"], "nobody"]
        problem = post(described, "compatibility", adapter_ids=ids, status=404)
        assert problem["unknown_ids"] == ["nobody"]

    def test_weight_of_a_stranger_is_refused(self, described: Home) -> None:
        ids = [described.adapter("alice")["id"]]
        post(described, "compatibility", adapter_ids=ids, weights={"x": 1.0}, status=400)

    def test_too_many_for_exact_figures_are_refused(self, home: Home) -> None:
        ids = [str(number) for number in range(6)]
        problem = post(home, "compatibility", adapter_ids=ids, exact=True, status=400)
        assert "At most 5" in problem["detail"]


class TestDuplicates:
    def _found(self, home: Home, status: int = 200, **query: Any) -> dict[str, Any]:
        answer = home.client.get("/v1/library/duplicates", params={"by": "weights", **query})
        assert answer.status_code == status, answer.text
        given: dict[str, Any] = answer.json()
        return given

    def test_groups_by_class(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.985, Zebra=0.7)
        found = self._found(described, by="weights")
        near, lineage = found["items"]
        assert near["kind"] == "near_duplicate"
        assert [m["lora_name"] for m in near["members"]] == sorted(
            ["alice", "ink_v2"], key=lambda name: described.adapter(name)["id"]
        )
        assert near["pairs"][0]["cosine"] == pytest.approx(0.985, abs=2e-3)
        assert near["members"][0]["layout"] == described.adapter("alice")["network_type"]
        assert lineage["kind"] == "lineage"
        assert {m["lora_name"] for m in lineage["members"]} == {"alice", "ink_v2", "Zebra"}
        assert {p["relation"] for p in lineage["pairs"]} == {"near_duplicate", "lineage"}
        assert (found["compared"], found["not_compared"], found["total"]) == (3, 0, 2)

    def test_are_current_at_once(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.99, Zebra=0.0)
        assert len(self._found(described)["items"]) == 1
        described.client.delete(f"/v1/adapters/{described.adapter('ink_v2')['id']}")
        assert self._found(described)["items"] == []
        sketch_all(described, Zebra=0.6)
        (group,) = self._found(described)["items"]
        assert group["kind"] == "lineage"

    def test_are_paged_and_chosen_by_kind(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.985, Zebra=0.7)
        page = self._found(described, per_page=1, page=2)
        assert ([g["kind"] for g in page["items"]], page["pages"]) == (["lineage"], 2)
        only = self._found(described, kind="near_duplicate")
        assert (len(only["items"]), only["total"], only["filtered"]) == (1, 2, 1)

    def test_without_sketches_say_so(self, described: Home) -> None:
        found = self._found(described)
        assert (found["items"], found["compared"], found["not_compared"]) == ([], 0, 3)

    @pytest.mark.parametrize("by", ["name", ""])
    def test_other_ways_are_refused(self, home: Home, by: str) -> None:
        self._found(home, by=by, status=422)


class TestWarningsOfCompose:
    def _warnings(self, home: Home, **weights: float) -> list[dict[str, Any]]:
        for name, weight in weights.items():
            change(home, name, active=True, weight=weight)
        answer = home.client.post("/v1/compose", json={}).json()
        return [w for w in answer["warnings"] if w["code"] in ("near_duplicate", "strong_overlap")]

    def test_near_duplicates(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.99, Zebra=0.0)
        (warning,) = self._warnings(described, alice=1.0, ink_v2=1.0, Zebra=1.0)
        assert warning["code"] == "near_duplicate"
        assert "nearly the same file" in warning["message"]

    def test_strong_overlap(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.8, Zebra=0.0)
        (warning,) = self._warnings(described, alice=1.0, ink_v2=0.5)
        assert warning["code"] == "strong_overlap"
        assert "do much the same" in warning["message"]

    def test_weights_of_other_signs_take_each_other_back(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.8, Zebra=0.0)
        (warning,) = self._warnings(described, alice=1.0, ink_v2=-0.5)
        assert "take back" in warning["message"]

    def test_weight_of_nothing_is_nothing(self, described: Home) -> None:
        sketch_all(described, ink_v2=0.99, Zebra=0.0)
        assert self._warnings(described, alice=1.0, ink_v2=0.0) == []

    def test_sketch_of_another_file_is_not_used(self, described: Home, library: Path) -> None:
        sketch_all(described, ink_v2=0.99, Zebra=0.0)
        write_lora(library / "styles" / "ink.v2.safetensors", width=1024, seed=9)
        described.scan()
        assert self._warnings(described, alice=1.0, ink_v2=1.0) == []
