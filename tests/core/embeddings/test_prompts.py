"""Prompts taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_manager_core.embeddings.prompts import segments, words_of


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        pytest.param("a fox, deep snow", ["a fox", "deep snow"], id="commas"),
        pytest.param("a fox BREAK deep snow", ["a fox", "deep snow"], id="BREAK"),
        pytest.param("A fox. Deep snow", ["A fox", "Deep snow"], id="sentences"),
        pytest.param("a fox, A Fox", ["a fox"], id="each once"),
        pytest.param("masterpiece, best quality, fox", ["fox"], id="quality words"),
        pytest.param("score_9, score_8_up, rating_safe, fox", ["fox"], id="scores"),
        pytest.param("masterpiece fox in 8k", ["fox in"], id="quality words inside"),
        pytest.param(
            "1girl, solo, looking at viewer, red dress", ["red dress"], id="what all have"
        ),
        pytest.param("(ink wash:1.3), ((fog))", ["ink wash", "fog"], id="weights"),
        pytest.param("[fox:wolf:0.5]", ["fox:wolf"], id="change of prompt"),
        pytest.param("alice \\(wonderland\\)", ["alice wonderland"], id="escaped brackets"),
        pytest.param("fox <lora:red_fox:0.8> snow", ["fox", "snow"], id="lora"),
        pytest.param("red_fox", ["red fox"], id="underscores"),
        pytest.param("水墨画，山、川", ["水墨画", "山", "川"], id="chinese"),
        pytest.param("", [], id="empty"),
        pytest.param(" ,, . \n", [], id="nothing in it"),
        pytest.param("masterpiece", [], id="quality alone"),
    ],
)
def test_parts(prompt: str, parts: list[str]) -> None:
    assert segments(prompt).parts == parts


def test_words_are_those_of_the_parts_in_order() -> None:
    assert segments("Red_Fox, masterpiece, Deep snow").words == ["red", "fox", "deep", "snow"]


def test_a_trigger_phrase_is_found_among_the_words() -> None:
    assert words_of("Red_Fox") == segments("a (red fox:1.2)").words[1:]


@given(st.text(max_size=500))
def test_anything_is_taken_apart(prompt: str) -> None:
    found = segments(prompt)

    assert len(found.parts) <= 32
    assert all(0 < len(part) <= 300 for part in found.parts)


@pytest.mark.parametrize("piece", ["fox, ", "(", "<lora:", "masterpiece ", "水", "a:1.", "\\"])
def test_a_hundred_kilobytes_are_taken_apart(piece: str) -> None:
    found = segments(piece * (100_000 // len(piece)))

    assert len(found.parts) <= 32
    assert len(found.words) <= 500
