"""The active set in the host's own pictures, judged by their pixels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.running import Picture, RunningHost

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

#: Two pictures that differ less than this are the same one.
SAME = 0.01
#: What a LoRA at 0.8 changes at least.
SEEN = 3.0

AMBER = "<lora:amber_watercolor:0.8>"
OFF = {"LoRA Manager": {"args": [False]}}


@pytest.fixture
def host(standard: RunningHost) -> Iterator[RunningHost]:
    """Nothing active before and after, injection on."""
    standard.activate_only()
    yield standard
    standard.activate_only()
    standard.client.put("/v1/injection", json={"enabled": True})


@pytest.fixture(scope="module")
def plain(standard: RunningHost) -> Picture:
    return standard.txt2img("a cat", alwayson_scripts=OFF)


@pytest.fixture(scope="module")
def amber(standard: RunningHost) -> Picture:
    """The reference: the token typed by hand, nothing of ours in it."""
    return standard.txt2img(f"a cat {AMBER}", alwayson_scripts=OFF)


def test_reference_pictures_are_different(plain: Picture, amber: Picture) -> None:
    assert plain.distance(amber) > SEEN


def test_nothing_active_changes_nothing(host: RunningHost, plain: Picture) -> None:
    picture = host.txt2img("a cat")
    assert picture.distance(plain) < SAME
    assert "<lora:" not in picture.infotext


class TestActiveSet:
    def test_text_to_image(self, host: RunningHost, amber: Picture) -> None:
        host.activate_only(amber_watercolor=0.8)
        picture = host.txt2img("a cat")
        assert picture.distance(amber) < SAME
        assert "<lora:amber_watercolor:0.800>" in picture.infotext
        assert "LoRA networks: amber_watercolor" in picture.infotext

    def test_image_to_image(self, host: RunningHost) -> None:
        reference = host.img2img(f"a cat {AMBER}")
        host.activate_only(amber_watercolor=0.8)
        picture = host.img2img("a cat")
        assert picture.distance(reference) < SAME
        assert picture.distance(host.img2img("a cat", alwayson_scripts=OFF)) > SEEN
        assert "<lora:amber_watercolor:0.800>" in picture.infotext

    def test_control(self, host: RunningHost) -> None:
        reference, without = host.control(f"a cat {AMBER}"), host.control("a cat")
        host.activate_only(amber_watercolor=0.8)
        picture = host.control("a cat")
        assert picture.distance(reference) < SAME
        assert picture.distance(without) > SEEN
        assert "<lora:amber_watercolor:0.800>" in picture.infotext

    def test_several(self, host: RunningHost, amber: Picture) -> None:
        typed = host.txt2img(f"a cat {AMBER} <lora:ink_portrait:0.5>")
        assert typed.distance(amber) > SEEN
        host.activate_only(amber_watercolor=0.8, ink_portrait=0.5)
        assert host.txt2img("a cat").distance(typed) < SAME

    def test_batch(self, host: RunningHost, amber: Picture) -> None:
        host.activate_only(amber_watercolor=0.8)
        assert host.txt2img("a cat", batch_size=2).distance(amber) < SAME


class TestOff:
    def test_for_one_call(self, host: RunningHost, plain: Picture) -> None:
        host.activate_only(amber_watercolor=0.8)
        picture = host.txt2img("a cat", alwayson_scripts=OFF)
        assert picture.distance(plain) < SAME
        assert "<lora:" not in picture.infotext

    def test_for_good(self, host: RunningHost, plain: Picture) -> None:
        host.activate_only(amber_watercolor=0.8)
        assert host.client.put("/v1/injection", json={"enabled": False}).status_code == 200
        assert host.txt2img("a cat").distance(plain) < SAME

    def test_names_are_translated_all_the_same(self, host: RunningHost, amber: Picture) -> None:
        host.change("styles/amber_watercolor.safetensors", name="honey wash")
        try:
            picture = host.txt2img("a cat <lora:honey wash:0.8>", alwayson_scripts=OFF)
        finally:
            host.change("styles/amber_watercolor.safetensors", name="amber_watercolor")
        assert picture.distance(amber) < SAME


class TestNeverDoubled:
    @pytest.mark.parametrize("name", ["amber_watercolor", "honey wash"])
    def test_typed_and_active(self, host: RunningHost, amber: Picture, name: str) -> None:
        host.change("styles/amber_watercolor.safetensors", name="honey wash")
        try:
            host.activate_only(**{"honey wash": 0.3})
            picture = host.txt2img(f"a cat <lora:{name}:0.8>")
        finally:
            host.change("styles/amber_watercolor.safetensors", name="amber_watercolor")
        assert picture.distance(amber) < SAME
        first_line = picture.infotext.splitlines()[0]
        assert first_line == "a cat <lora:amber_watercolor:0.8>"

    def test_dotted_file_name_typed_as_it_is(self, host: RunningHost, plain: Picture) -> None:
        reference = host.txt2img("a cat <lora:garden_v2:0.8>")
        assert reference.distance(plain) > SEEN
        host.activate_only(garden_v2=0.3)
        picture = host.txt2img("a cat <lora:garden.v2:0.8>")
        assert picture.distance(reference) < SAME
        assert picture.infotext.splitlines()[0].count("<lora:") == 1


class TestStyles:
    """The host adds styles after our first turn (`conftest.models` has one with a LoRA)."""

    STYLE = "brings amber"

    def test_name_in_a_style(self, host: RunningHost, plain: Picture) -> None:
        reference = host.txt2img("a cat", styles=[self.STYLE], alwayson_scripts=OFF)
        assert reference.distance(plain) > SEEN
        host.change("styles/ink_portrait.safetensors", name="meanwhile")
        host.change("styles/amber_watercolor.safetensors", name="ink_portrait")
        host.change("styles/ink_portrait.safetensors", name="amber_watercolor")
        try:
            picture = host.txt2img("a cat", styles=[self.STYLE])
            expected = host.txt2img("a cat <lora:amber_watercolor:0.3>")
        finally:
            host.change("styles/ink_portrait.safetensors", name="meanwhile")
            host.change("styles/amber_watercolor.safetensors", name="amber_watercolor")
            host.change("styles/ink_portrait.safetensors", name="ink_portrait")
        assert "<lora:ink_portrait:0.3>" in picture.infotext
        assert picture.distance(expected) < SAME
        assert picture.distance(reference) > SEEN

    def test_active_and_in_a_style(self, host: RunningHost) -> None:
        reference = host.txt2img("a cat", styles=[self.STYLE])
        host.activate_only(amber_watercolor=0.8)
        picture = host.txt2img("a cat", styles=[self.STYLE])
        assert picture.distance(reference) < SAME
        assert picture.infotext.splitlines()[0].count("<lora:") == 1


class TestTheRightFile:
    def test_renamed_record(self, host: RunningHost, amber: Picture) -> None:
        host.change("styles/amber_watercolor.safetensors", name="honey wash")
        try:
            host.activate_only(**{"honey wash": 0.8})
            picture = host.txt2img("a cat")
        finally:
            host.change("styles/amber_watercolor.safetensors", name="amber_watercolor")
        assert picture.distance(amber) < SAME
        assert "<lora:amber_watercolor:0.800>" in picture.infotext

    def test_swapped_names(self, host: RunningHost, amber: Picture) -> None:
        """Each record bears the other one's file name; translating twice would swap them back."""
        amber_file, ink_file = (
            "styles/amber_watercolor.safetensors",
            "styles/ink_portrait.safetensors",
        )
        host.change(amber_file, name="meanwhile")
        host.change(ink_file, name="amber_watercolor")
        host.change(amber_file, name="ink_portrait")
        try:
            host.activate_only(ink_portrait=0.8)
            injected = host.txt2img("a cat")
            host.activate_only()
            typed = host.txt2img("a cat <lora:ink_portrait:0.8>")
        finally:
            host.change(amber_file, name="meanwhile")
            host.change(ink_file, name="ink_portrait")
            host.change(amber_file, name="amber_watercolor")
        assert injected.distance(amber) < SAME
        assert typed.distance(amber) < SAME

    @pytest.mark.parametrize(
        ("file", "copy_of"),
        [
            ("left/twin.safetensors", "amber_watercolor"),
            ("right/twin.safetensors", "ink_portrait"),
            ("lone.safetensors", "amber_watercolor"),
            ("hidden/lone.safetensors", "ink_portrait"),
        ],
    )
    def test_files_of_one_base_name(
        self, host: RunningHost, plain: Picture, file: str, copy_of: str
    ) -> None:
        reference = host.txt2img(f"a cat <lora:{copy_of}:0.8>")
        assert reference.distance(plain) > SEEN
        name = host.adapters()[file]["name"]
        host.activate_only(**{name: 0.8})
        assert host.txt2img("a cat").distance(reference) < SAME
        host.activate_only()
        assert host.txt2img(f"a cat <lora:{name}:0.8>").distance(reference) < SAME


@pytest.mark.parametrize("file", ["left/twin", "right/twin", "lone", "hidden/lone"])
def test_files_of_one_base_name_in_a_relative_folder(modern: RunningHost, file: str) -> None:
    """There a path below the folder means nothing to the host, and a hidden file has no name."""
    copy_of = "amber_watercolor" if file in ("left/twin", "lone") else "ink_portrait"
    reference = modern.txt2img(f"a cat <lora:{copy_of}:0.8>")
    modern.activate_only(**{modern.adapters()[f"{file}.safetensors"]["name"]: 0.8})
    try:
        assert modern.txt2img("a cat").distance(reference) < SAME
    finally:
        modern.activate_only()


class TestExactStrengths:
    def test_strengths_do_not_stay_behind(
        self, host: RunningHost, plain: Picture, amber: Picture
    ) -> None:
        host.activate_only(amber_watercolor=0.8)
        strong = host.txt2img("a cat")
        host.activate_only(amber_watercolor=0.4)
        weak = host.txt2img("a cat")
        host.activate_only()
        none = host.txt2img("a cat")
        assert strong.distance(amber) < SAME
        assert weak.distance(host.txt2img("a cat <lora:amber_watercolor:0.4>")) < SAME
        assert SEEN < weak.distance(plain) < strong.distance(plain)
        assert none.distance(plain) < SAME

    def test_it_is_said(self, host: RunningHost) -> None:
        assert "switched lora_fuse_native off" in host.logged()


class TestOurOwnPictures:
    SIZE = {
        "seed": 42,
        "steps": 5,
        "width": 128,
        "height": 128,
        "cfg_scale": 6,
        "sampler_name": "Default",
    }

    def test_generate_is_exactly_the_prompt(self, host: RunningHost, plain: Picture) -> None:
        host.activate_only(amber_watercolor=0.8)
        picture, _ = host.generate("generate", {"prompt": "a cat", **self.SIZE})
        assert picture.distance(plain) < SAME
        assert "<lora:" not in picture.infotext

    def test_generate_translates(self, host: RunningHost, amber: Picture) -> None:
        host.change("styles/amber_watercolor.safetensors", name="honey wash")
        try:
            body = {"prompt": "a cat <lora:honey wash:0.8>", **self.SIZE}
            picture, said = host.generate("generate", body)
        finally:
            host.change("styles/amber_watercolor.safetensors", name="amber_watercolor")
        assert picture.distance(amber) < SAME
        assert said["generation_info"]["seeds"] == [42]

    def test_compose_and_generate(self, host: RunningHost, amber: Picture) -> None:
        host.activate_only(amber_watercolor=0.8)
        picture, _ = host.generate(
            "compose-and-generate",
            {"compose_request": {"prefix": "a cat"}, "generation_params": self.SIZE},
        )
        assert picture.distance(amber) < SAME
        assert "LoRA networks: amber_watercolor" in picture.infotext

    def test_each_picture_of_a_batch_has_its_own_seed(self, host: RunningHost) -> None:
        body = {"prompt": "a cat", **self.SIZE, "batch_size": 2, "n_iter": 2}
        _, said = host.generate("generate", body)
        info = said["generation_info"]
        assert info["seeds"] == [42, 43, 44, 45]
        for seed, infotext in zip(info["seeds"], info["infotexts"], strict=True):
            assert f"Seed: {seed}" in infotext

    def test_unknown_sampler(self, host: RunningHost) -> None:
        answer = host.client.post(
            "/v1/generation/generate",
            json={"prompt": "a cat", **self.SIZE, "sampler_name": "no such"},
        )
        assert answer.json()["code"] == "generation_failed"
        assert "no such" in answer.json()["detail"]
