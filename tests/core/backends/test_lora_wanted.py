"""What a prompt asks for, before any file is opened."""

from pathlib import Path

import pytest

from lora_manager_core.backends.lora_wanted import WantedLora, wanted_loras

FILES = {"ink": Path("/l/ink.safetensors"), "ink.alias": Path("/l/ink.safetensors")}


def only(prompt: str) -> WantedLora:
    (lora,), _ = wanted_loras(prompt, FILES.get)
    return lora


def strengths(prompt: str) -> tuple[float, float, float, float]:
    lora = only(prompt)
    return lora.down, lora.mid, lora.up, lora.text_encoder


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param("<lora:ink>", (1, 1, 1, 1), id="no weight"),
        pytest.param("<lora:ink:0.5>", (0.5, 0.5, 0.5, 0.5), id="weight"),
        pytest.param("<lora:ink:0.5:te=0:unet=0.5>", (0.5, 0.5, 0.5, 0), id="te and unet"),
        pytest.param("<lora:ink:0.5:te=0.2>", (0.2, 0.2, 0.2, 0.2), id="te alone moves all"),
        pytest.param("<lora:ink:0.5:unet=0.2>", (0.2, 0.2, 0.2, 0.5), id="unet"),
        pytest.param("<lora:ink:0.5:in=1:out=0>", (1, 0.5, 0, 0.5), id="blocks"),
        pytest.param("<lora:ink:1@0,0.2@0.5>", (1, 1, 1, 1), id="schedule"),
        pytest.param("<lora:ink:0.2@0.5;0.7@0>", (0.7, 0.7, 0.7, 0.7), id="schedule, unsorted"),
        pytest.param("<lora:ink:0.5:te=0.3@5>", (0.3, 0.3, 0.3, 0.3), id="schedule of te"),
    ],
)
def test_strengths(prompt: str, expected: tuple[float, ...]):
    assert strengths(prompt) == expected


@pytest.mark.parametrize(
    "prompt", ["", "no tags", "<lora:ink:0>", "<lora:ink:0:te=0>", "<lora:ink:1:unet=0:te=0>"]
)
def test_nothing_to_apply_and_nothing_to_say(prompt: str):
    assert wanted_loras(prompt, FILES.get) == ([], [])


def test_text_encoder_alone_is_something():
    assert strengths("<lora:ink:0:te=1:unet=0>") == (0, 0, 0, 1)


def test_an_unknown_name_is_said():
    wanted, warnings = wanted_loras("<lora:gone:1> <lora:ink:1>", FILES.get)
    assert [lora.name for lora in wanted] == ["ink"]
    assert "“gone”" in warnings[0]


@pytest.mark.parametrize("other", ["ink", "ink.alias"])
def test_one_file_twice_counts_once_at_its_highest(other: str):
    wanted, warnings = wanted_loras(f"<lora:ink:0.3> <lora:{other}:0.9>", FILES.get)
    assert [lora.down for lora in wanted] == [0.9]
    assert "0.9" in warnings[0]


def test_arguments_without_effect_here_are_said():
    _, warnings = wanted_loras("<lora:ink:1:dyn=4>", FILES.get)
    assert "dyn=" in warnings[0]


def test_a_broken_schedule_is_weight_one():
    assert strengths("<lora:ink:a@b>") == (1, 1, 1, 1)
