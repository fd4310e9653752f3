"""The embedded backend with a real, tiny pipeline: what a LoRA token does to the pixels."""

import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from lora_manager_core.backends.base import (
    GenerationCancelled,
    GenerationRequest,
    GenerationResult,
    StepProgress,
)
from lora_manager_core.backends.diffusers_local import DiffusersBackend
from lora_manager_core.backends.diffusers_model import HeldPipeline
from lora_manager_core.backends.diffusers_samplers import SAMPLERS
from lora_manager_core.backends.embedded_extra import embedded_extra
from lora_manager_core.backends.infotext import read_infotext
from lora_manager_core.errors import (
    BackendUnavailable,
    ExtraNotInstalled,
    GenerationFailed,
    InvalidRequest,
    OutOfMemory,
)
from lora_manager_core.samples import build_sample_library, build_tiny_pipeline

pytestmark = [
    pytest.mark.embedded,
    # torch's tensors and numpy 2.1 in diffusers' schedulers
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
]

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
safetensors_torch = pytest.importorskip("safetensors.torch")

REQUEST = GenerationRequest(
    prompt="a night city", steps=3, sampler_name="Euler", width=128, height=128, seed=11
)
VISIBLE = 10  # mean difference per channel, of 255


@dataclass(frozen=True)
class Sample:
    """The pipeline folder and the library, and a backend over both."""

    model: Path
    library: Path
    backend: DiffusersBackend

    def draw(self, prompt: str, **changes: Any) -> GenerationResult:
        return draw(self.backend, prompt, **changes)

    def picture(self, prompt: str, **changes: Any) -> Image.Image:
        return picture(self.draw(prompt, **changes))


def draw(backend: DiffusersBackend, prompt: str, **changes: Any) -> GenerationResult:
    request = replace(REQUEST, prompt=prompt, **changes)
    return backend.generate(request, lambda progress: None, lambda: False)


def picture(result: GenerationResult, index: int = 0) -> Image.Image:
    return Image.open(BytesIO(result.images[index].png)).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference per channel, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def resolver(library: Path) -> Any:
    return lambda name: next(
        (f for f in library.rglob("*") if f.stem.replace(".", "_") == name and f.suffix in KINDS),
        None,
    )


KINDS = (".safetensors", ".pt", ".ckpt")


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    folder = tmp_path_factory.mktemp("embedded")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors this small only wait for each other
    model = build_tiny_pipeline(folder / "tiny-sd")
    build_sample_library(folder / "loras")
    backend = DiffusersBackend(model, resolver(folder / "loras"), device="cpu")
    yield Sample(model, folder / "loras", backend)
    backend.close()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def plain(sample: Sample) -> Image.Image:
    """The picture without any LoRA."""
    return sample.picture("a night city")


@pytest.fixture
def broken(sample: Sample, tmp_path: Path) -> Sample:
    """The same backend over a copy of the library, to put broken files into."""
    library = tmp_path / "loras"
    shutil.copytree(sample.library, library)
    held = sample.backend._pipeline
    return Sample(sample.model, library, DiffusersBackend(None, resolver(library), pipeline=held))


class TestStrength:
    @pytest.mark.parametrize(
        "name",
        ["amber_watercolor", "ink_portrait", "night_city", "garden_v2", "dragon_tamer"],
    )
    def test_a_lora_shows_and_more_of_it_shows_differently(
        self, sample: Sample, plain: Image.Image, name: str
    ):
        much = sample.picture(f"a night city <lora:{name}:0.8>")
        little = sample.picture(f"a night city <lora:{name}:0.4>")
        assert difference(much, plain) > VISIBLE
        assert difference(much, little) > VISIBLE / 2
        assert difference(little, plain) > 1

    def test_afterwards_the_model_is_as_before_to_the_bit(self, sample: Sample, plain: Image.Image):
        for name in ("ink_portrait", "garden_v2", "dragon_tamer"):
            sample.draw(f"a night city <lora:{name}:0.8>")
            assert sample.picture("a night city").tobytes() == plain.tobytes()

    def test_one_after_the_other_leaves_no_trace(self, sample: Sample):
        alone = sample.picture("a night city <lora:night_city:0.4>")
        sample.draw("a night city <lora:night_city:0.8>")
        assert sample.picture("a night city <lora:night_city:0.4>").tobytes() == alone.tobytes()

    def test_weight_nought_is_no_lora(self, sample: Sample, plain: Image.Image):
        result = sample.draw("a night city <lora:ink_portrait:0>")
        assert picture(result).tobytes() == plain.tobytes()
        assert result.warnings == ()

    def test_two_at_once_is_neither_of_them(self, sample: Sample):
        both = sample.picture("a night city <lora:night_city:0.8> <lora:words_only:0.8>")
        assert difference(both, sample.picture("a night city <lora:night_city:0.8>")) > VISIBLE / 4
        assert difference(both, sample.picture("a night city <lora:words_only:0.8>")) > VISIBLE / 4

    def test_twice_in_one_prompt_counts_once_at_its_highest(self, sample: Sample):
        result = sample.draw("a night city <lora:night_city:0.3> <lora:night_city:0.8>")
        alone = sample.picture("a night city <lora:night_city:0.8>")
        assert picture(result).tobytes() == alone.tobytes()
        assert "more than once" in result.warnings[0]


class TestTextEncoder:
    """kohya's `lora_te_…` keys and PEFT's `text_encoder.…`."""

    @pytest.mark.parametrize("name", ["words_only", "ink_portrait", "dragon_tamer"])
    def test_its_part_shows_alone(self, sample: Sample, plain: Image.Image, name: str):
        only_words = sample.picture(f"a night city <lora:{name}:0:te=0.8:unet=0>")
        assert difference(only_words, plain) > VISIBLE / 3

    def test_te_switches_it_off_and_leaves_the_denoiser(self, sample: Sample):
        without = sample.picture("a night city <lora:ink_portrait:0.8:te=0:unet=0.8>")
        assert difference(without, sample.picture("a night city <lora:ink_portrait:0.8>")) > 1
        same = sample.picture("a night city <lora:ink_portrait:0:te=0:unet=0.8>")
        assert without.tobytes() == same.tobytes()

    def test_a_lora_without_such_a_part_does_not_care(self, sample: Sample):
        with_te = sample.picture("a night city <lora:night_city:0.8:te=0.1:unet=0.8>")
        assert with_te.tobytes() == sample.picture("a night city <lora:night_city:0.8>").tobytes()


class TestBlocks:
    def test_in_mid_and_out_have_strengths_of_their_own(self, sample: Sample):
        full = sample.picture("a night city <lora:garden_v2:0.8>")
        parts = [
            sample.picture(f"a night city <lora:garden_v2:0:{block}=0.8>")
            for block in ("in", "mid", "out")
        ]
        for one, other in itertools.combinations([full, *parts], 2):
            assert difference(one, other) > 1

    def test_all_three_named_are_the_plain_weight(self, sample: Sample):
        named = sample.picture("a night city <lora:garden_v2:0:in=0.8:mid=0.8:out=0.8>")
        assert named.tobytes() == sample.picture("a night city <lora:garden_v2:0.8>").tobytes()


class TestFilesThatCannotBeApplied:
    """Each is a warning that names the file; the picture is made, the other LoRAs apply."""

    def expect(self, broken: Sample, file: Path, *words: str) -> None:
        prompt = "a night city <lora:night_city:0.8>"
        result = broken.draw(f"{prompt} <lora:{file.stem}:0.8>")
        assert len(result.warnings) == 1
        for word in (file.name, *words):
            assert word in result.warnings[0]
        assert picture(result).tobytes() == broken.picture(prompt).tobytes()
        assert "LoRA networks: night_city" in result.images[0].infotext

    def test_cut_off_in_the_middle(self, broken: Sample):
        source = broken.library / "styles" / "ink_portrait.safetensors"
        file = broken.library / "cut.safetensors"
        file.write_bytes(source.read_bytes()[:-5000])
        self.expect(broken, file, "cannot be read")

    def test_no_safetensors_at_all(self, broken: Sample):
        file = broken.library / "junk.safetensors"
        file.write_bytes(b"<html>not found</html>")
        self.expect(broken, file, "cannot be read")

    def test_a_pickle_is_never_opened(self, broken: Sample):
        file = broken.library / "old.pt"
        file.write_bytes(b"\x80\x04")
        self.expect(broken, file, "convert it to .safetensors")

    def test_values_that_are_no_numbers(self, broken: Sample):
        tensors = self.tensors(broken)
        next(iter(tensors.values())).view(-1)[0] = float("nan")
        self.expect(broken, self.save(broken, tensors), "NaN")

    def test_one_layer_of_another_model(self, broken: Sample):
        tensors = self.tensors(broken)
        key = next(key for key in tensors if key.endswith("attn2_to_k.lora_down.weight"))
        tensors[key] = torch.zeros(4, 768)
        self.expect(broken, self.save(broken, tensors), "another model", "4x768")

    def test_layers_this_model_does_not_have(self, broken: Sample):
        tensors = self.tensors(broken)
        tensors["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"] = torch.zeros(4, 32)
        self.expect(broken, self.save(broken, tensors), "another kind of model", "double_blocks")

    def test_half_a_layer(self, broken: Sample):
        tensors = self.tensors(broken)
        del tensors[next(key for key in tensors if key.endswith("lora_up.weight"))]
        self.expect(broken, self.save(broken, tensors), "incomplete")

    @pytest.mark.parametrize(
        ("key", "kind"),
        [("hada_w1_a", "LoHa"), ("lokr_w1", "LoKr"), ("dora_scale", "DoRA"), ("oft_diag", "OFT")],
    )
    def test_kinds_diffusers_does_not_know(self, broken: Sample, key: str, kind: str):
        layer = "lora_unet_mid_block_attentions_0_proj_in"
        file = self.save(broken, {f"{layer}.{key}": torch.zeros(4, 4)})
        self.expect(broken, file, kind, "SD.Next")

    def test_no_lora(self, broken: Sample):
        self.expect(broken, self.save(broken, {"emb_params": torch.zeros(4, 4)}), "emb_params")

    def test_only_broken_ones_leave_the_plain_picture(self, broken: Sample, plain: Image.Image):
        (broken.library / "junk.safetensors").write_bytes(b"")
        result = broken.draw("a night city <lora:junk:0.8>")
        assert picture(result).tobytes() == plain.tobytes()
        assert "LoRA networks" not in result.images[0].infotext

    def test_an_unknown_name(self, sample: Sample, plain: Image.Image):
        result = sample.draw("a night city <lora:Ink_Portrait:0.8>")
        assert "Ink_Portrait" in result.warnings[0]
        assert picture(result).tobytes() == plain.tobytes()

    def tensors(self, broken: Sample) -> dict[str, Any]:
        return safetensors_torch.load_file(broken.library / "styles/ink_portrait.safetensors")

    def save(self, broken: Sample, tensors: dict[str, Any]) -> Path:
        file = broken.library / "made.safetensors"
        safetensors_torch.save_file(tensors, file)
        return file


class TestKeyForms:
    """The same weights under other trainers' names give the same picture."""

    @pytest.fixture
    def peft(self, sample: Sample) -> dict[str, Any]:
        return safetensors_torch.load_file(sample.library / "characters/dragon_tamer.safetensors")

    def expect_the_same(self, broken: Sample, tensors: dict[str, Any], **metadata: str) -> None:
        safetensors_torch.save_file(tensors, broken.library / "made.safetensors", metadata)
        made = broken.draw("a night city <lora:made:0.8>")
        assert made.warnings == ()
        original = broken.picture("a night city <lora:dragon_tamer:0.8>")
        assert difference(picture(made), original) < 0.5

    def test_with_the_lost_level_of_the_text_encoder(self, broken: Sample, peft: dict[str, Any]):
        renamed = {
            key.replace("text_encoder.", "text_encoder.text_model."): value
            for key, value in peft.items()
        }
        self.expect_the_same(broken, renamed)

    def test_kohya(self, broken: Sample, peft: dict[str, Any]):
        renamed = {}
        for key, value in peft.items():
            component, _, rest = key.partition(".")
            layer, part = rest.split(".lora_")
            prefix = "lora_unet" if component == "unet" else "lora_te_text_model"
            stem = f"{prefix}_{layer.replace('.', '_')}"
            renamed[f"{stem}.lora_{'down' if part[0] == 'A' else 'up'}.weight"] = value
            renamed[f"{stem}.alpha"] = torch.tensor(4.0)
        self.expect_the_same(broken, renamed)

    def test_older_diffusers(self, broken: Sample, peft: dict[str, Any]):
        def old(key: str) -> str:
            kind = "lora_linear_layer" if key.startswith("text_encoder") else "lora"
            key = key.replace("lora_A", f"{kind}.down").replace("lora_B", f"{kind}.up")
            for name in ("to_q", "to_k", "to_v", "to_out.0"):
                new = f"processor.{name.removesuffix('.0')}_lora."
                key = key.replace(f"{name}.lora.", new)
            return key

        self.expect_the_same(broken, {old(key): value for key, value in peft.items()})

    def test_alpha_in_the_metadata(self, broken: Sample, peft: dict[str, Any]):
        halved = {
            key: value / 2 if "lora_B" in key else value.contiguous() for key, value in peft.items()
        }
        config = {f"{part}.lora_alpha": 8 for part in ("unet", "text_encoder")}
        self.expect_the_same(broken, halved, lora_adapter_metadata=json.dumps(config))


class TestSeed:
    def test_the_same_seed_is_the_same_picture(self, sample: Sample, plain: Image.Image):
        assert sample.picture("a night city").tobytes() == plain.tobytes()
        assert difference(sample.picture("a night city", seed=12), plain) > 1

    @pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M SDE"])
    def test_each_of_a_batch_can_be_made_again_alone(self, sample: Sample, sampler: str):
        options = {"sampler_name": sampler}
        four = sample.draw("a night city", n_iter=2, batch_size=2, **options)
        assert [image.seed for image in four.images] == [11, 12, 13, 14]
        for index, image in enumerate(four.images):
            alone = sample.picture("a night city", seed=image.seed, **options)
            # the same up to the rounding of sums taken in another order
            assert difference(picture(four, index), alone) < 0.5

    def test_a_random_seed_is_recorded(self, sample: Sample):
        drawn = sample.draw("a night city", seed=-1)
        again = sample.picture("a night city", seed=drawn.images[0].seed)
        assert picture(drawn).tobytes() == again.tobytes()
        assert drawn.info["all_seeds"] == [drawn.images[0].seed]


class TestSampler:
    @pytest.mark.parametrize("name", sorted(SAMPLERS))
    def test_every_known_one_makes_a_picture(self, sample: Sample, name: str):
        result = sample.draw("a night city <lora:night_city:0.5>", sampler_name=name, steps=4)
        assert all("scipy" in warning for warning in result.warnings)
        assert ImageStat.Stat(picture(result)).stddev[0] > 1

    def test_an_unknown_one_falls_back_and_says_so(self, sample: Sample):
        result = sample.draw("a night city", sampler_name="Quantum")
        assert "Quantum" in result.warnings[0]
        assert "DPMSolverMultistepScheduler" in result.warnings[0]
        assert "Quantum" not in result.images[0].infotext

    def test_karras(self, sample: Sample):
        karras = sample.picture("a night city", sampler_name="DPM++ 2M Karras")
        assert difference(karras, sample.picture("a night city", sampler_name="DPM++ 2M")) > 1


class TestRequest:
    def test_sides_are_rounded_down_with_a_warning(self, sample: Sample):
        result = sample.draw("x", width=131, height=70)
        assert (result.images[0].width, result.images[0].height) == (128, 64)
        assert picture(result).size == (128, 64)
        assert "128x64" in result.warnings[0]

    def test_denoising_strength_is_ignored_with_a_warning(self, sample: Sample):
        assert "denoising_strength" in sample.draw("x", denoising_strength=0.5).warnings[0]

    def test_a_prompt_longer_than_the_model_reads(self, sample: Sample):
        result = sample.draw("a night city " * 40)
        assert "77" in result.warnings[0]
        assert sample.draw("a city", negative_prompt="x y " * 60).warnings != ()

    def test_a_schedule_stands_at_its_beginning(self, sample: Sample):
        result = sample.draw("a night city <lora:night_city:0.8@0,0.1@1>")
        same = sample.picture("a night city <lora:night_city:0.8>")
        assert picture(result).tobytes() == same.tobytes()
        assert "schedule" in result.warnings[0]

    @pytest.mark.parametrize(
        "changes",
        [{"batch_size": 65}, {"n_iter": 0}, {"width": 8}, {"height": 100_000}, {"steps": 0}],
        ids=str,
    )
    def test_out_of_bounds(self, sample: Sample, changes: dict[str, int]):
        with pytest.raises(InvalidRequest):
            sample.draw("x", **changes)

    def test_the_picture_tells_how_it_was_made(self, sample: Sample):
        prompt = "a night city <lora:ink_portrait:0.8>"
        image = sample.draw(prompt, negative_prompt="grey").images[0]
        assert read_infotext(image.png) == image.infotext
        assert image.infotext.splitlines()[:2] == [prompt, "Negative prompt: grey"]
        for part in ("Steps: 3, Size: 128x128, Sampler: Euler,", "Seed: 11,", "Model: tiny-sd,"):
            assert part in image.infotext
        assert image.infotext.endswith("LoRA networks: ink_portrait")


class TestProgressAndCancel:
    def test_rises_to_the_end_over_all_batches(self, sample: Sample):
        seen: list[StepProgress] = []
        request = replace(REQUEST, n_iter=2)
        sample.backend.generate(request, seen.append, lambda: False)
        fractions = [progress.fraction for progress in seen]
        assert fractions == pytest.approx([n / 6 for n in range(1, 7)])
        assert [progress.step for progress in seen] == [1, 2, 3, 1, 2, 3]
        assert seen[-1].eta_s == 0
        assert all(progress.eta_s is not None and progress.eta_s > 0 for progress in seen[:-1])

    def test_a_cancel_stops_between_steps_and_takes_the_loras_out(
        self, sample: Sample, plain: Image.Image
    ):
        seen: list[StepProgress] = []
        request = replace(REQUEST, prompt="a night city <lora:ink_portrait:0.8>", steps=50)
        with pytest.raises(GenerationCancelled):
            sample.backend.generate(request, seen.append, lambda: len(seen) >= 2)
        assert len(seen) == 2
        assert sample.picture("a night city").tobytes() == plain.tobytes()

    def test_cancelled_while_waiting_loads_nothing(self, sample: Sample):
        backend = DiffusersBackend(sample.model, lambda name: None)
        with pytest.raises(GenerationCancelled):
            backend.generate(REQUEST, lambda progress: None, lambda: True)
        assert not backend.loaded


class TestPreviews:
    def test_come_along_with_progress_and_change_nothing(self, sample: Sample, plain: Image.Image):
        seen: list[StepProgress] = []
        result = sample.backend.generate(REQUEST, seen.append, lambda: False, lambda: True)
        previews = [progress.preview for progress in seen if progress.preview is not None]
        assert previews  # three steps may be through within the half second between two
        with Image.open(BytesIO(previews[0])) as image:
            assert (image.format, image.size) == ("JPEG", (64, 64))  # four for each of 16 latents
            darkest, brightest = image.convert("L").getextrema()
        assert darkest < brightest
        assert picture(result).tobytes() == plain.tobytes()

    def test_at_most_two_a_second(self, sample: Sample):
        seen: list[StepProgress] = []
        began = time.monotonic()
        request = replace(REQUEST, steps=40)
        sample.backend.generate(request, seen.append, lambda: False, lambda: True)
        most = 1 + (time.monotonic() - began) / 0.5
        assert 1 <= sum(progress.preview is not None for progress in seen) <= most

    def test_nobody_looks(self, sample: Sample):
        seen: list[StepProgress] = []
        sample.backend.generate(REQUEST, seen.append, lambda: False)
        assert [progress.preview for progress in seen] == [None, None, None]


class FakePipeline:
    """A pipeline whose call ends in an error, as one that runs out of memory does."""

    unet = torch.nn.Identity()
    _lora_loadable_modules = ("unet",)

    def __init__(self, error: Exception) -> None:
        from diffusers import EulerDiscreteScheduler

        self.error = error
        self.scheduler = EulerDiscreteScheduler()
        self.unloaded = 0

    def load_lora_weights(self, tensors: dict[str, Any], adapter_name: str) -> None:
        raise AssertionError("no file here can be applied")

    def unload_lora_weights(self) -> None:
        self.unloaded += 1

    def __call__(self, **options: Any) -> Any:
        raise self.error


class TestFailure:
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            RuntimeError("MPS backend out of memory"),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: not enough memory"),
        ],
        ids=["cuda", "mps", "cpu"],
    )
    def test_out_of_memory_says_what_to_do_and_leaves_nothing_behind(self, error: Exception):
        fake = FakePipeline(error)
        backend = self.backend(fake)
        own = fake.scheduler
        with pytest.raises(OutOfMemory, match="smaller"):
            draw(backend, "x <lora:missing:0.8>")
        assert fake.scheduler is own
        assert fake.unloaded == 1
        with pytest.raises(OutOfMemory):  # the lock is free again
            draw(backend, "x")

    def test_another_error_is_told_in_one_line(self):
        backend = self.backend(FakePipeline(ValueError("height must be odd\nand more")))
        with pytest.raises(GenerationFailed, match="ValueError: height must be odd$"):
            draw(backend, "x")

    def backend(self, fake: FakePipeline) -> DiffusersBackend:
        folder = Path(__file__).parent
        held = HeldPipeline(folder, load=lambda folder, device: fake)
        held._pipeline = fake
        return DiffusersBackend(folder, lambda name: folder / "missing.safetensors", pipeline=held)


class TestProbe:
    def test_ready(self, sample: Sample):
        status = DiffusersBackend(sample.model, lambda name: None).probe()
        assert status.available
        assert (status.name, status.model) == ("diffusers", "tiny-sd")
        assert (status.architecture, status.reason) == ("SD 1.5", None)

    def test_no_model_configured(self):
        backend = DiffusersBackend(None, lambda name: None)
        assert "--model" in (backend.probe().reason or "")
        with pytest.raises(BackendUnavailable, match="DIFFUSERS_MODEL"):
            draw(backend, "x")

    def test_a_folder_without_a_model(self, tmp_path: Path):
        status = DiffusersBackend(tmp_path, lambda name: None).probe()
        assert not status.available
        assert "model_index.json" in (status.reason or "")

    @pytest.mark.parametrize(
        ("class_name", "width", "label"),
        [
            ("StableDiffusionPipeline", 768, "SD 1.5"),
            ("StableDiffusionPipeline", 1024, "SD 2.x"),
            ("StableDiffusionXLPipeline", 768, "SDXL"),
            ("StableDiffusion3Pipeline", 768, "SD 3"),
            ("FluxPipeline", 768, "Flux.1"),
            ("SomethingElse", 768, None),
        ],
    )
    def test_architecture(self, tmp_path: Path, class_name: str, width: int, label: str | None):
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": class_name}))
        (tmp_path / "text_encoder").mkdir()
        (tmp_path / "text_encoder" / "config.json").write_text(json.dumps({"hidden_size": width}))
        assert DiffusersBackend(tmp_path, lambda name: None).probe().architecture == label


class TestModel:
    def test_a_failed_load_is_remembered_until_the_folder_changes(self, tmp_path: Path):
        index = tmp_path / "model_index.json"
        index.write_text("{}")
        tries: list[Path] = []

        def load(folder: Path, device: str | None) -> Any:
            tries.append(folder)
            raise OSError("no unet\nin there")

        held = HeldPipeline(tmp_path, load=load)
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match="OSError: no unet$"):
                held.get()
        assert len(tries) == 1
        assert "no unet" in (held.problem() or "")
        os.utime(index, (1, 1))
        with pytest.raises(BackendUnavailable):
            held.get()
        assert len(tries) == 2

    def test_memory_running_out_is_not_held_against_the_folder(self, tmp_path: Path):
        (tmp_path / "model_index.json").write_text("{}")

        def load(folder: Path, device: str | None) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        held = HeldPipeline(tmp_path, load=load)
        with pytest.raises(OutOfMemory):
            held.get()
        assert held.problem() is None

    def test_a_missing_library_names_the_extra(self):
        with (
            pytest.raises(ExtraNotInstalled, match=r"sd-lora-manager\[embedded\]"),
            embedded_extra(),
        ):
            import no_such_library  # noqa: F401

    def test_close_unloads_and_the_next_picture_loads_again(self, sample: Sample):
        backend = DiffusersBackend(sample.model, lambda name: None, device="cpu")
        first = picture(draw(backend, "x"))
        assert backend.loaded
        backend.close()
        assert not backend.loaded
        assert picture(draw(backend, "x")).tobytes() == first.tobytes()
        backend.close()


class TestSamples:
    def test_the_library_is_always_the_same(self, sample: Sample, tmp_path: Path):
        again = build_sample_library(tmp_path)
        assert len(again) == 6
        for file in again:
            first = sample.library / file.relative_to(tmp_path)
            one, other = (safetensors_torch.load_file(path) for path in (first, file))
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in one)
            assert file.with_suffix(".png").read_bytes() == first.with_suffix(".png").read_bytes()

    def test_the_pipeline_is_always_the_same(self, sample: Sample, tmp_path: Path):
        weights = "unet/diffusion_pytorch_model.safetensors"
        again = safetensors_torch.load_file(build_tiny_pipeline(tmp_path / "again") / weights)
        first = safetensors_torch.load_file(sample.model / weights)
        assert all(torch.equal(again[key], first[key]) for key in first)
