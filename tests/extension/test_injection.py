"""What becomes of a job's prompts: pure text, no host."""

from __future__ import annotations

import pytest

from lora_manager_core.backends.base import PromptName
from lora_manager_ext.injection import (
    ActiveSet,
    active_set,
    names_in,
    translated,
    with_active_set,
    without_doubles,
)

A, B, C = "<lora:a:0.800>", "<lora:b:0.500>", "<lora:c:1.000>"


def file_of(name: str) -> str:
    """`x` and `x.v1` are two names of one file."""
    return name.removesuffix(".v1")


class TestTranslated:
    def test_records_names_become_what_resolves(self) -> None:
        names = {"Warm light": PromptName("folder/warm")}
        assert translated("a <lora:Warm light:0.8:te=0.5> b", names) == (
            "a <lora:folder/warm:0.8:te=0.5> b"
        )

    def test_other_names_stay(self) -> None:
        assert translated(A, {}) == A
        assert translated(A, {"a": PromptName(None, "hidden")}) == A

    def test_two_records_with_each_others_names(self) -> None:
        names = {"a": PromptName("b"), "b": PromptName("a")}
        assert translated(f"{A} {B}", names) == "<lora:b:0.800> <lora:a:0.500>"


class TestActiveSet:
    def test_what_cannot_be_named_is_left_out(self) -> None:
        active = active_set([A, B], {"a": PromptName(None, "rename it")}, file_of)
        assert active.tokens == (B,)
        assert "“a” is not applied: rename it" in active.problems[0]

    def test_one_token_per_file(self) -> None:
        active = active_set([A, "<lora:a.v1:0.300>"], {}, file_of)
        assert active.tokens == (A,)


class TestWithActiveSet:
    def test_added_at_the_end(self) -> None:
        assert with_active_set(["a cat "], ActiveSet((A, B)), file_of) == [f"a cat {A} {B}"]

    def test_empty_prompt(self) -> None:
        assert with_active_set([""], ActiveSet((A,)), file_of) == [A]

    @pytest.mark.parametrize(
        "typed", [A, "<lora:a:0.3>", "<lora:a>", "<lora:a.v1:0.3>", "<lora:a:0>"]
    )
    def test_never_what_the_prompt_holds(self, typed: str) -> None:
        prompt = f"{typed} a cat"
        assert with_active_set([prompt], ActiveSet((A,)), file_of) == [prompt]

    def test_only_what_it_lacks(self) -> None:
        assert with_active_set([f"x {B}"], ActiveSet((A, B)), file_of) == [f"x {B} {A}"]

    def test_nothing_that_a_style_will_bring(self) -> None:
        done = with_active_set(["x"], ActiveSet((A, B)), file_of, held_elsewhere=["a"])
        assert done == [f"x {B}"]

    def test_twice_is_as_once(self) -> None:
        once = with_active_set(["x"], ActiveSet((A, B)), file_of)
        assert with_active_set(once, ActiveSet((A, B)), file_of) == once


class TestBatches:
    """The host applies the set of the last prompt with tokens to the whole batch."""

    def test_every_prompt_gets_the_set(self) -> None:
        done = with_active_set(["x", "y"], ActiveSet((A,)), file_of, batch_size=2)
        assert done == [f"x {A}", f"y {A}"]

    def test_a_prompt_without_tokens_keeps_what_applied_to_it(self) -> None:
        done = with_active_set([f"x {C}", "y"], ActiveSet((A,)), file_of, batch_size=2)
        assert done == [f"x {C} {A}", f"y {C} {A}"]

    def test_the_last_one_with_tokens_decides(self) -> None:
        done = with_active_set([f"x {C}", f"y {A}"], ActiveSet((A,)), file_of, batch_size=2)
        assert done == [f"x {C}", f"y {A}"]

    def test_batches_do_not_mix(self) -> None:
        done = with_active_set([f"x {C}", "y"], ActiveSet((A,)), file_of, batch_size=1)
        assert done == [f"x {C} {A}", f"y {A}"]


class TestWithoutDoubles:
    def test_ours_goes(self) -> None:
        prompt = f"x {A} {B} <lora:a.v1:0.3>"
        assert without_doubles(prompt, [A, B], file_of) == f"x {B} <lora:a.v1:0.3>"

    def test_nothing_to_do(self) -> None:
        assert without_doubles(f"x {A} {B}", [A, B], file_of) == f"x {A} {B}"


def test_names_in() -> None:
    assert names_in([A, f"{B} {A}", "nothing"]) == {"a", "b"}
