"""Which prompt and seed each picture of a sweep has."""

from __future__ import annotations

import pytest

from lora_manager_core.generation.sweep_plan import SweepPlan, SweptAdapter


def _adapter(name="ink", weight=1.0, weight_te=None, prompt_name=None):
    return SweptAdapter(f"id of {name}", name, prompt_name or name, weight, weight_te)


def _prompts(prompt, adapters, *weights):
    return [cell.prompt for cell in SweepPlan(prompt, tuple(adapters), weights, (1,)).cells]


class TestCells:
    def test_go_row_by_row(self):
        plan = SweepPlan("a fox", (_adapter(),), (0.0, 0.5), (1, 2))
        assert [(cell.weight, cell.seed) for cell in plan.cells] == [
            (0.0, 1),
            (0.5, 1),
            (0.0, 2),
            (0.5, 2),
        ]
        assert plan.columns == ["weight 0", "weight 0.5"]
        assert plan.rows == ["seed 1", "seed 2"]

    def test_survive_being_stored(self):
        plan = SweepPlan("a fox", (_adapter(weight_te=0.5),), (0.5,), (1,))
        payload = {"params": {"prompt": "a fox"}, "sweep": plan.payload()}
        assert SweepPlan.from_payload(payload) == plan


class TestPrompts:
    def test_of_one_adapter_have_that_weight(self):
        assert _prompts("a fox", [_adapter(weight=0.4)], 0.0, 0.5, -1.0) == [
            "a fox",
            "a fox <lora:ink:0.500>",
            "a fox <lora:ink:-1.000>",
        ]

    def test_of_several_have_multiples_of_their_own_weights(self):
        adapters = [_adapter("ink", 0.8), _adapter("night", -0.4)]
        assert _prompts("a fox", adapters, 0.0, 0.5) == [
            "a fox",
            "a fox <lora:ink:0.400> <lora:night:-0.200>",
        ]

    def test_keep_the_ratio_of_the_text_encoder(self):
        adapter = _adapter(weight=0.8, weight_te=0.4)
        assert _prompts("x", [adapter], 0.4) == ["x <lora:ink:0.400:te=0.200:unet=0.400>"]

    def test_take_an_adapter_whose_own_weight_is_nought(self):
        assert _prompts("x", [_adapter(weight=0.0)], 0.0, 0.5) == ["x", "x <lora:ink:0.500>"]

    @pytest.mark.parametrize(
        ("prompt", "expected"),
        [
            ("a <lora:ink:0.9> fox", "a <lora:ink:0.500> fox"),
            ("a <lora:ink:0.9> fox <lora:ink:0.2>", "a <lora:ink:0.500> fox"),
            ("a <lora:file:0.9> fox", "a <lora:ink:0.500> fox"),
            ("a <lora:other:0.9> fox", "a <lora:other:0.9> fox <lora:ink:0.500>"),
            ("", "<lora:ink:0.500>"),
        ],
        ids=["replaced", "twice", "by-its-file", "another", "empty"],
    )
    def test_hold_each_adapter_once(self, prompt, expected):
        assert _prompts(prompt, [_adapter(prompt_name="file")], 0.5) == [expected]

    def test_lose_the_token_at_nought(self):
        assert _prompts("a <lora:ink:0.9> fox", [_adapter()], 0.0) == ["a fox"]
