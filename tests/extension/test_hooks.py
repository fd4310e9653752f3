"""The hook on jobs of the host, with a written catalogue and a written job."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from lora_manager_core.backends.base import PromptName
from lora_manager_ext.generation import FINAL_PROMPT
from lora_manager_ext.hooks import WANTED, PromptHook, make_script

TOKEN = "<lora:warm:0.800>"


@dataclass
class FakeCatalogue:
    """Records “warm” (file `w1`) and “cold” (whose file nothing resolves to)."""

    on: bool = True
    tokens: Sequence[str] = (TOKEN,)
    styles: Mapping[str, str] = field(default_factory=dict)
    asked: int = 0
    broken: bool = False

    def injection_is_on(self) -> bool:
        return self.on

    def active_tokens(self) -> Sequence[str]:
        if self.broken:
            raise RuntimeError("the database is gone")
        self.asked += 1
        return self.tokens

    def resolve(self, names: set[str]) -> Mapping[str, PromptName]:
        known = {"warm": PromptName("w1"), "cold": PromptName(None, "rename the file")}
        return {name: known[name] for name in names if name in known}

    def file_of(self, name: str) -> str:
        return name

    def style_prompts(self, names: Sequence[str]) -> Sequence[str]:
        return [self.styles[name] for name in names]


class FakeJob:
    """What the hook reads and writes of the host's `StableDiffusionProcessing`."""

    def __init__(self, prompt: Any, **more: Any) -> None:
        self.prompt = prompt
        self.all_prompts: list[str] | None = None
        self.styles: list[str] = []
        self.batch_size = 1
        self.refiner_prompt = ""
        self.detailer_prompt = ""
        self.__dict__.update(more)


@pytest.fixture
def catalogue() -> FakeCatalogue:
    return FakeCatalogue()


@pytest.fixture
def hook(catalogue: FakeCatalogue) -> PromptHook:
    return PromptHook(lambda: catalogue, logging.getLogger("test-hook"))


def settled(hook: PromptHook, *arguments: Any, **more: Any) -> FakeJob:
    job = FakeJob(*arguments, **more)
    hook.before_process(job)
    return job


class TestBeforeProcess:
    def test_a_text(self, hook: PromptHook) -> None:
        assert settled(hook, "a cat").prompt == "a cat <lora:w1:0.800>"

    def test_no_text_at_all_and_nothing_active(
        self, hook: PromptHook, catalogue: FakeCatalogue
    ) -> None:
        catalogue.tokens = ()
        assert settled(hook, "").prompt == ""

    def test_no_text_at_all(self, hook: PromptHook) -> None:
        assert settled(hook, None).prompt == "<lora:w1:0.800>"

    def test_a_list(self, hook: PromptHook) -> None:
        job = settled(hook, ["a cat", "a dog"])
        assert job.prompt == ["a cat <lora:w1:0.800>", "a dog <lora:w1:0.800>"]

    def test_prompts_made_ready_by_a_script(self, hook: PromptHook) -> None:
        job = settled(hook, "a cat", all_prompts=["a", "b"])
        assert job.all_prompts == ["a <lora:w1:0.800>", "b <lora:w1:0.800>"]

    def test_other_prompts_are_translated_only(self, hook: PromptHook) -> None:
        job = settled(hook, "a cat", refiner_prompt="fine <lora:warm:0.3>")
        assert job.refiner_prompt == "fine <lora:w1:0.3>"
        assert job.detailer_prompt == ""

    @pytest.mark.parametrize("typed", ["<lora:warm:0.3>", "<lora:w1:0.3>"])
    def test_never_doubled(self, hook: PromptHook, typed: str) -> None:
        assert settled(hook, f"a cat {typed}").prompt == "a cat <lora:w1:0.3>"

    def test_once_per_job(self, hook: PromptHook, catalogue: FakeCatalogue) -> None:
        job = settled(hook, "a cat")
        hook.before_process(job)
        assert job.prompt == "a cat <lora:w1:0.800>"
        assert catalogue.asked == 1

    def test_a_job_used_again_with_another_prompt(self, hook: PromptHook) -> None:
        job = settled(hook, "a cat")
        job.prompt = "a dog"
        hook.before_process(job)
        assert job.prompt == "a dog <lora:w1:0.800>"

    def test_nothing_active(self, hook: PromptHook, catalogue: FakeCatalogue) -> None:
        catalogue.tokens = ()
        assert settled(hook, "a cat").prompt == "a cat"

    def test_off_for_good_still_translates(
        self, hook: PromptHook, catalogue: FakeCatalogue
    ) -> None:
        catalogue.on = False
        assert settled(hook, "a <lora:warm:1>").prompt == "a <lora:w1:1>"
        assert settled(hook, "a").prompt == "a"

    def test_off_for_this_job(self, hook: PromptHook) -> None:
        assert settled(hook, "a cat", **{WANTED: False}).prompt == "a cat"

    def test_our_own_jobs_are_left_alone(self, hook: PromptHook) -> None:
        job = settled(hook, "a <lora:warm:1>", **{FINAL_PROMPT: True})
        assert job.prompt == "a <lora:warm:1>"

    def test_before_the_manager_is_there(self) -> None:
        hook = PromptHook(lambda: None, logging.getLogger("test-hook"))
        assert settled(hook, "a cat").prompt == "a cat"

    def test_what_cannot_be_named_is_said_once(
        self, hook: PromptHook, catalogue: FakeCatalogue, caplog: pytest.LogCaptureFixture
    ) -> None:
        catalogue.tokens = ("<lora:cold:1.000>",)
        assert settled(hook, "a cat").prompt == "a cat"
        settled(hook, "a cat")
        assert [record.message for record in caplog.records] == [
            "LoRA Manager: “cold” is not applied: rename the file"
        ]

    def test_a_failure_stops_no_picture(
        self, hook: PromptHook, catalogue: FakeCatalogue, caplog: pytest.LogCaptureFixture
    ) -> None:
        catalogue.broken = True
        assert settled(hook, "a cat").prompt == "a cat"
        settled(hook, "a cat")
        (record,) = caplog.records
        assert record.exc_info is not None


class TestStyles:
    def test_a_style_that_brings_the_lora(self, hook: PromptHook, catalogue: FakeCatalogue) -> None:
        catalogue.styles = {"mine": "{prompt} <lora:warm:0.2>"}
        assert settled(hook, "a cat", styles=["mine"]).prompt == "a cat"

    def test_names_in_nothing_but_a_style(self, hook: PromptHook, catalogue: FakeCatalogue) -> None:
        catalogue.tokens = ()
        job = settled(hook, "a cat")
        job.all_prompts = ["a cat, soft <lora:warm:0.2>"]
        hook.process(job)
        assert job.all_prompts == ["a cat, soft <lora:w1:0.2>"]

    def test_names_that_come_after_us(self, hook: PromptHook) -> None:
        job = settled(hook, "a cat")
        job.all_prompts = [f"{job.prompt}, soft <lora:warm:0.2>"]
        hook.process(job)
        assert job.all_prompts == ["a cat , soft <lora:w1:0.2>"]


class ScriptBase:
    """As much of the host's `Script` as ours uses."""

    def elem_id(self, item_id: str) -> str:
        return f"script_txt2img_{item_id}"


class TestScript:
    def test_argument_decides(self, hook: PromptHook) -> None:
        script = make_script(ScriptBase, "always", "LoRA Manager", hook)()
        assert script.title() == "LoRA Manager"
        assert script.show(False) == "always"
        for arguments, wanted in (((False,), False), ((True,), True), ((None,), True), ((), True)):
            job = FakeJob("a cat")
            script.before_process(job, *arguments)
            assert getattr(job, WANTED) is wanted

    def test_the_host_finds_a_plain_class(self, hook: PromptHook) -> None:
        """`type(script_class) == type` is what it asks of what it finds in our file."""
        assert type(make_script(ScriptBase, "always", "LoRA Manager", hook)) is type
