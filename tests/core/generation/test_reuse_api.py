"""A finished picture as parameters and stack, and its stack as the active set."""

from __future__ import annotations

import pytest

_SMALL = {"prompt": "a fox", "steps": 3, "width": 64, "height": 48, "seed": -1}


def _make(home, prompt, **change):
    body = {**_SMALL, "prompt": prompt, **change}
    answer = home.client.post("/v1/generation/generate", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["job_id"]


def _reuse(home, job, body=None):
    answer = home.client.post(f"/v1/generation/results/{job}/reuse", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _active(home):
    return home.client.post("/v1/compose", json={}).json()["tokens"]


def _change(home, adapter, **values):
    record = home.adapter(adapter)
    answer = home.client.patch(f"/v1/adapters/{record['id']}", json=values)
    assert answer.status_code == 200, answer.text
    return record["id"]


class TestReuse:
    def test_gives_what_it_was_made_of(self, home):
        alice = home.adapter("alice")["id"]
        prompt = "a fox <lora:alice:0.7> at dusk <lora:gone:0.4>"
        reused = _reuse(home, _make(home, prompt))
        assert reused["prompt"] == prompt
        assert reused["prompt_without_tokens"] == "a fox at dusk"
        assert reused["applied"] is False
        assert reused["generation_params"]["prompt"] == prompt
        assert reused["generation_params"]["seed"] == 7  # the one the backend drew
        assert reused["stack"] == [
            {
                "adapter_id": alice,
                "name": "alice",
                "weight": 0.7,
                "weight_te": None,
                "missing": False,
            },
            {
                "adapter_id": None,
                "name": "gone",
                "weight": 0.4,
                "weight_te": None,
                "missing": True,
            },
        ]
        assert _active(home) == []

    def test_can_be_ordered_again_as_it_is(self, home):
        reused = _reuse(home, _make(home, "a fox <lora:alice:0.7>"))
        again = home.client.post("/v1/generation/generate", json=reused["generation_params"])
        assert again.json()["generation_info"]["seeds"] == [7]

    def test_finds_an_adapter_that_got_another_name(self, home):
        job = _make(home, "<lora:alice:0.7>")
        _change(home, "alice", name="My Alice")
        [entry] = _reuse(home, job)["stack"]
        assert (entry["name"], entry["missing"]) == ("My Alice", False)

    def test_of_what_is_not_there_is_not_found(self, home):
        answer = home.client.post("/v1/generation/results/ghost/reuse", json={"apply": True})
        assert (answer.status_code, answer.json()["code"]) == (404, "result_not_found")

    @pytest.mark.parametrize("body", [{"apply": "yes"}, {"apply": None}, {"x": 1}], ids=str)
    def test_refuses_what_makes_no_sense(self, home, body):
        job = _make(home, "a fox")
        answer = home.client.post(f"/v1/generation/results/{job}/reuse", json=body)
        assert answer.status_code == 422


class TestApply:
    def test_makes_exactly_that_stack_the_active_set(self, home):
        _change(home, "Zebra", active=True, ordinal=0)
        _change(home, "alice", active=True, ordinal=9, weight=0.1, weight_te=0.3)
        prompt = "a fox <lora:ink_v2:-0.5> <lora:alice:0.7> <lora:gone:1>"
        reused = _reuse(home, _make(home, prompt), {"apply": True})
        assert (reused["applied"], reused["stack"][2]["missing"]) == (True, True)
        assert _active(home) == ["<lora:ink_v2:-0.500>", "<lora:alice:0.700>"]
        assert home.adapter("Zebra")["active"] is False

    def test_keeps_the_strength_of_the_text_encoder(self, home):
        job = _make(home, "<lora:alice:0.8:te=0.5:unet=0.8>")
        _reuse(home, job, {"apply": True})
        assert _active(home) == ["<lora:alice:0.800:te=0.500:unet=0.800>"]

    def test_of_a_repeated_name_takes_the_strongest(self, home):
        job = _make(home, "<lora:alice:0.2> <lora:alice:0.9>")
        assert len(_reuse(home, job, {"apply": True})["stack"]) == 2
        assert _active(home) == ["<lora:alice:0.900>"]

    def test_of_a_prompt_without_tokens_empties_the_set(self, home):
        _change(home, "Zebra", active=True)
        _reuse(home, _make(home, "a fox"), {"apply": True})
        assert _active(home) == []

    def test_changes_nothing_when_a_weight_is_no_adapters(self, home):
        _change(home, "Zebra", active=True)
        job = _make(home, "<lora:alice:0.5> <lora:ink_v2:1000>")
        answer = home.client.post(f"/v1/generation/results/{job}/reuse", json={"apply": True})
        assert (answer.status_code, answer.json()["code"]) == (422, "unprocessable")
        assert _active(home) == ["<lora:Zebra:1.000>"]
