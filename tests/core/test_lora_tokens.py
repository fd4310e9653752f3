"""The LoRA token: read as SD.Next reads it, written so that SD.Next reads it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_manager_core.common.lora_tokens import (
    find_tokens,
    format_token,
    rename_tokens,
    strip_tokens,
    unwritable_characters,
    writable_name,
)

NAMES = st.text(
    st.characters(exclude_characters=":<>=\r\n", exclude_categories=("Cs",)), min_size=1
)


def only_token(prompt: str):
    (token,) = find_tokens(prompt)
    return token


class TestFind:
    @pytest.mark.parametrize(
        ("prompt", "weight", "text_encoder"),
        [
            pytest.param("<lora:ink>", 1.0, 1.0, id="no weight"),
            pytest.param("<lora:ink:0.8>", 0.8, 0.8, id="weight"),
            pytest.param("<lora:ink:-0.5>", -0.5, -0.5, id="negative"),
            pytest.param(
                "<lora:ink:0.8:te=0.3>", 0.3, 0.3, id="te alone moves both, as in the host"
            ),
            pytest.param("<lora:ink:0.8:unet=0.3>", 0.3, 0.8, id="unet of its own"),
            pytest.param("<lora:ink:te=0.2:unet=0.3>", 0.3, 0.2, id="both named, no weight"),
            pytest.param("<lora:ink:nan>", 1.0, 1.0, id="not a number"),
            pytest.param("<lora:ink:inf>", 1.0, 1.0, id="infinite"),
            pytest.param("<lora:ink:>", 1.0, 1.0, id="empty weight"),
        ],
    )
    def test_weights(self, prompt: str, weight: float, text_encoder: float):
        token = only_token(prompt)
        assert (token.name, token.weight, token.text_encoder_weight) == (
            "ink",
            weight,
            text_encoder,
        )

    def test_a_schedule_is_kept_as_text_and_is_no_number(self):
        token = only_token("<lora:ink:1@0,0.2@0.5:te=0.5@3>")
        assert token.positional == ("1@0,0.2@0.5",)
        assert token.named == {"te": "0.5@3"}
        assert token.number("te") is None

    def test_several_in_order_with_their_places(self):
        prompt = "a <lora:x:1> b <lora:folder/y:0.5>"
        tokens = list(find_tokens(prompt))
        assert [token.name for token in tokens] == ["x", "folder/y"]
        assert [prompt[token.start : token.end] for token in tokens] == [
            "<lora:x:1>",
            "<lora:folder/y:0.5>",
        ]

    @pytest.mark.parametrize("prompt", ["", "lora:x:1", "<lora:>", "<lyco:x:1>", "<lora:x:1"])
    def test_what_is_no_token(self, prompt: str):
        assert list(find_tokens(prompt)) == []

    def test_an_argument_with_two_equals_signs_is_positional(self):
        assert only_token("<lora:x:a=b=c>").positional == ("a=b=c",)


class TestWrite:
    def test_options_follow_the_weight(self):
        written = format_token("ink", 0.8, {"te": 0.5, "dyn": 8})
        assert written == "<lora:ink:0.800:te=0.500:dyn=8>"

    @given(name=NAMES, weight=st.integers(-4000, 4000).map(lambda n: n / 1000))
    def test_what_is_written_is_read_back(self, name: str, weight: float):
        token = only_token(
            f"before {format_token(name, weight, {'te': weight / 2, 'unet': weight})} after"
        )
        assert token.name == name
        assert token.weight == weight
        assert token.text_encoder_weight == pytest.approx(weight / 2, abs=0.0006)

    @given(name=st.text())
    def test_a_writable_name_has_nothing_unwritable(self, name: str):
        assert unwritable_characters(writable_name(name)) == ""

    def test_unwritable_characters_are_named_once(self):
        assert unwritable_characters("a:b:c>d=\n") == ":>=\n"


class TestRename:
    def test_keeps_weight_and_options(self):
        renamed = rename_tokens("a <lora:Old:0.8:te=0.5> b", {"Old": "new/name"}.get)
        assert renamed == "a <lora:new/name:0.8:te=0.5> b"

    def test_leaves_what_it_does_not_know(self):
        assert rename_tokens("<lora:x:1@0,0@1> y", lambda name: None) == "<lora:x:1@0,0@1> y"

    def test_a_token_without_arguments(self):
        assert rename_tokens("<lora:x>", lambda name: "y") == "<lora:y>"

    @given(names=st.lists(NAMES, max_size=5))
    def test_there_and_back_is_the_same_prompt(self, names: list[str]):
        prompt = " and ".join(format_token(name, 0.5) for name in names)
        there = rename_tokens(prompt, lambda name: f"{name}|")
        assert rename_tokens(there, lambda name: name[:-1]) == prompt


class TestStrip:
    def test_leaves_single_spaces(self):
        assert strip_tokens("a cat <lora:x:1> on a mat <lora:y:1>") == "a cat on a mat"

    def test_other_networks_stay(self):
        assert strip_tokens("a <wildcard:b>") == "a <wildcard:b>"
