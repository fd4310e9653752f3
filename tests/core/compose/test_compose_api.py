"""Section 2 of the contract: composing the active set, its warnings, and names at the border."""

from __future__ import annotations

import pytest

from lora_manager_core.backends.base import BackendStatus
from lora_manager_core.compose.translate import PromptTranslator
from tests.core.conftest import Home
from tests.fakes.lora_files import write_lora


def _patch(home: Home, record: str, /, **change: object) -> dict:
    answer = home.client.patch(f"/v1/adapters/{home.adapter(record)['id']}", json=change)
    assert answer.status_code == 200, answer.text
    return answer.json()["adapter"]


def _compose(home: Home, **request: object) -> dict:
    answer = home.client.post("/v1/compose", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _codes(composition: dict) -> list[str]:
    return [warning["code"] for warning in composition["warnings"]]


class TestTokens:
    def test_are_the_active_set_in_its_order(self, home):
        _patch(home, "Zebra", active=True, weight=1.0, ordinal=1)
        _patch(home, "ink_v2", active=True, weight=0.8)
        _patch(home, "alice", active=True, weight=-0.25)
        composed = _compose(home, prefix="  a knight ", suffix=" at dusk  ")
        assert composed["tokens"] == [
            "<lora:Zebra:1.000>",
            "<lora:alice:-0.250>",
            "<lora:ink_v2:0.800>",
        ]
        assert composed["prompt"] == f"a knight {' '.join(composed['tokens'])} at dusk"
        assert composed["delivery"] is None

    def test_of_chosen_adapters_follow_the_order_asked_for(self, home):
        ids = [home.adapter(name)["id"] for name in ("Zebra", "alice")]
        assert _compose(home, adapter_ids=ids)["tokens"] == [
            "<lora:Zebra:1.000>",
            "<lora:alice:1.000>",
        ]

    def test_say_the_text_encoder_weight_where_a_person_set_one(self, home):
        _patch(home, "alice", active=True, weight_te=0.5)
        assert _compose(home)["tokens"] == ["<lora:alice:1.000:te=0.500:unet=1.000>"]

    def test_name_each_lora_once_with_the_highest_weight(self, home):
        path = home.adapter("alice")["file_path"]
        body = {"name": "alice", "version": "2", "file_path": path, "active": True, "weight": 0.9}
        _patch(home, "alice", active=True, weight=0.4, notes="touched")
        assert home.client.post("/v1/adapters", json=body).status_code == 201
        composed = _compose(home)
        assert composed["tokens"] == ["<lora:alice:0.900>"]
        assert _codes(composed) == ["duplicate_name"]

    def test_of_unknown_adapters_are_not_found(self, home):
        answer = home.client.post("/v1/compose", json={"adapter_ids": ["ghost"]})
        assert (answer.status_code, answer.json()["unknown_ids"]) == (404, ["ghost"])

    def test_of_an_unknown_stack_are_not_found(self, home):
        assert home.client.post("/v1/compose", json={"stack_id": "ghost"}).status_code == 404

    def test_refuse_unknown_fields(self, home):
        assert home.client.post("/v1/compose", json={"prefx": "x"}).status_code == 422


class TestTriggerWords:
    GROUPS = (
        {"name": "base", "words": ["Inkstyle", "brush strokes"], "required": True},
        {"name": "night", "words": ["moon", "INKSTYLE"]},
        {"name": "day", "words": ["sun, clear sky"]},
    )

    @pytest.fixture
    def ink(self, home):
        record = _patch(home, "ink_v2", active=True, trigger_groups=list(self.GROUPS))
        return record["id"]

    def test_are_left_out_unless_asked_for(self, home, ink):
        composed = _compose(home, prefix="a fox")
        assert composed["prompt"] == "a fox <lora:ink_v2:1.000>"
        assert composed["trigger_words"] == []

    def test_of_required_groups_come_once_and_behind(self, home, ink):
        composed = _compose(home, prefix="a fox, brush STROKES", include_triggers=True)
        assert composed["prompt"] == "a fox, brush STROKES <lora:ink_v2:1.000> Inkstyle"
        composed = _compose(home, suffix="at dusk", include_triggers=True)
        assert composed["prompt"].endswith("at dusk, Inkstyle, brush strokes")

    def test_of_optional_groups_are_chosen_for_the_active_set(self, home, ink):
        _patch(home, "ink_v2", chosen_groups=["NIGHT", "gone"])
        composed = _compose(home, include_triggers=True)
        assert composed["trigger_words"] == ["Inkstyle", "brush strokes", "moon"]
        assert composed["warnings"] == []

    def test_of_optional_groups_can_be_chosen_for_one_prompt(self, home, ink):
        _patch(home, "ink_v2", chosen_groups=["night"])
        asked = {ink: ["day", "dusk"]}
        composed = _compose(home, include_triggers=True, trigger_groups=asked)
        assert composed["trigger_words"] == ["Inkstyle", "brush strokes", "sun", "clear sky"]
        assert _codes(composed) == ["unknown_group"]

    def test_of_a_stack_are_those_that_it_chose(self, home, ink):
        _patch(home, "ink_v2", chosen_groups=["night"])
        entry = {"adapter_id": ink, "trigger_groups": ["day"]}
        body = {"name": "x", "entries": [entry]}
        stack = home.client.post("/v1/stacks", json=body).json()["stack"]
        composed = _compose(home, include_triggers=True, stack_id=stack["id"])
        assert composed["trigger_words"] == ["Inkstyle", "brush strokes", "sun", "clear sky"]

    def test_of_an_adapter_without_groups_are_its_triggers(self, home):
        _patch(home, "alice", active=True, triggers=["alice", "(blue dress)"], trained_words=["x"])
        composed = _compose(home, prefix="malice", include_triggers=True)
        assert composed["trigger_words"] == ["alice", "(blue dress)"]
        _patch(home, "alice", triggers=[])
        assert _compose(home, include_triggers=True)["trigger_words"] == ["x"]
        _patch(home, "alice", weight=0.0)
        assert _compose(home, include_triggers=True)["trigger_words"] == []


class TestWarnings:
    def test_none_active(self, home):
        composed = _compose(home, prefix="x")
        assert (composed["prompt"], _codes(composed)) == ("x", ["none_active"])

    def test_weight_zero_is_left_out(self, home):
        _patch(home, "alice", active=True, weight=0.0)
        composed = _compose(home)
        assert (composed["tokens"], _codes(composed)) == ([], ["zero_weight"])

    def test_weight_outside_its_range(self, home):
        _patch(home, "alice", active=True, weight=1.5, weight_max=1.2)
        assert _codes(_compose(home)) == ["weight_out_of_range"]

    def test_missing_file(self, home):
        _patch(home, "alice", active=True)
        (home.library / "characters" / "alice.safetensors").unlink()
        home.scan()
        composed = _compose(home)
        assert _codes(composed) == ["file_missing"]
        assert composed["warnings"][0]["name"] == "alice"

    def test_unreadable_file(self, home):
        (home.library / "broken.safetensors").write_bytes(b"\xff" * 40)
        home.scan()
        _patch(home, "broken", active=True)
        assert "file_unreadable" in _codes(_compose(home))

    def test_other_base_model_than_the_loaded_checkpoint(self, home):
        home.client.get("/v1/generation/backends")  # a probe: the checkpoint is SD 1.5
        _patch(home, "Zebra", active=True)
        _patch(home, "alice", active=True)
        composed = _compose(home)
        assert [(w["code"], w["name"]) for w in composed["warnings"]] == [
            ("base_model_mismatch", "Zebra")
        ]

    @pytest.mark.parametrize(
        ("base", "loaded", "codes"),
        [
            ("Pony", "SDXL", []),
            ("Flux.1 or Chroma", "Flux.1", []),
            ("Flux.1", "Chroma", ["base_model_mismatch"]),
        ],
    )
    def test_a_base_model_that_may_fit_is_no_warning(self, home, base, loaded, codes):
        home.backend.status = BackendStatus("sdnext", True, None, "model", loaded)
        home.client.get("/v1/generation/backends")
        _patch(home, "alice", active=True, base_model=base)
        assert _codes(_compose(home)) == codes

    def test_no_base_model_warning_while_the_checkpoint_is_unknown(self, home):
        home.backend.status = BackendStatus("sdnext", False, "starting")
        home.client.get("/v1/generation/backends")
        _patch(home, "Zebra", active=True)
        assert _codes(_compose(home)) == []

    def test_a_file_that_no_prompt_can_name(self, home):
        write_lora(home.library / "other" / "alice.safetensors", seed=9)
        home.scan()
        hidden = home.adapter("other/alice")
        assert hidden["prompt_name_problem"]
        _patch(home, "other/alice", active=True)
        assert "unresolvable_name" in _codes(_compose(home))


class TestDelivery:
    def test_is_a_job_made_with_the_composition(self, home):
        _patch(home, "alice", active=True)
        params = {"generation_params": {"steps": 2, "width": 64, "height": 64}}
        composed = _compose(home, delivery={"mode": "sdnext", "params": params})
        job = composed["delivery"]["id"]
        assert composed["delivery"]["status"] == "pending"
        recorder = home.record_feed()
        if home.client.get(f"/v1/generation/progress/{job}").json()["status"] != "completed":
            recorder.wait_for_end(job)
        assert home.client.get(f"/v1/generation/progress/{job}").json()["status"] == "completed"
        assert home.backend.requests[0].prompt == "<lora:alice:1.000>"

    @pytest.mark.parametrize(
        "delivery",
        [
            pytest.param({"mode": "pigeon"}, id="unknown mode"),
            pytest.param({"mode": "sdnext", "params": {"x": 1}}, id="unknown parameter"),
            pytest.param(
                {"mode": "sdnext", "params": {"generation_params": {"steps": 0}}}, id="no steps"
            ),
            pytest.param({"mode": "sdnext", "params": {"backend": "none"}}, id="unknown backend"),
        ],
    )
    def test_that_cannot_be_made_leaves_no_job(self, home, delivery):
        _patch(home, "alice", active=True)
        answer = home.client.post("/v1/compose", json={"delivery": delivery})
        assert answer.status_code == 422, answer.text
        assert home.backend.requests == []

    def test_of_nothing_is_refused(self, home):
        answer = home.client.post("/v1/compose", json={"delivery": {"mode": "sdnext"}})
        assert answer.status_code == 400


class TestTranslation:
    """`<lora:RECORD…>` becomes what resolves to that record's file."""

    def _translate(self, home: Home, prompt: str) -> str:
        translator = home.application.services.get(PromptTranslator)
        return translator.translate(prompt, home.backend).prompt

    def test_a_renamed_record_stands_for_its_file(self, home):
        _patch(home, "alice", name="My best Alice")
        translated = self._translate(home, "x <lora:My best Alice:0.5:te=0.1> y")
        assert translated == "x <lora:alice:0.5:te=0.1> y"

    def test_a_name_that_is_no_records_is_left_as_typed(self, home):
        assert self._translate(home, "<lora:unknown:1>") == "<lora:unknown:1>"

    def test_a_record_named_like_another_file_wins_over_that_file(self, home):
        _patch(home, "ink_v2", name="ink")
        _patch(home, "alice", name="ink_v2")
        assert self._translate(home, "<lora:ink_v2:1> <lora:ink:1>") == (
            "<lora:alice:1> <lora:ink_v2:1>"
        )


class TestInjectionSwitch:
    def test_is_on_until_switched_and_stays_so(self, home):
        assert home.client.get("/v1/injection").json() == {"available": False, "enabled": True}
        home.client.put("/v1/injection", json={"enabled": False})
        assert home.client.get("/v1/injection").json()["enabled"] is False
