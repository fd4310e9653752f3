"""Colours of unfinished latents, with written pipelines around real tensors."""

from __future__ import annotations

from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lora_manager_core.backends.diffusers_preview import latent_preview

pytestmark = pytest.mark.embedded

torch = pytest.importorskip("torch")


class _Pipeline:
    """`init_noise_sigma` 1: the latents are at the scale of finished ones at each step."""

    def __init__(self, init_noise_sigma: float = 1.0) -> None:
        self.scheduler = SimpleNamespace(
            init_noise_sigma=init_noise_sigma, step_index=0, sigmas=[3.0, 0.0]
        )


class StableDiffusionPipeline(_Pipeline):
    pass


class StableDiffusionXLPipeline(_Pipeline):
    pass


class OtherPipeline(_Pipeline):
    """Latents of 16 channels, whose VAE shows the first channel as grey."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []
        self.vae = SimpleNamespace(
            config=SimpleNamespace(scaling_factor=2.0, shift_factor=0.25),
            dtype=torch.float32,
            decode=self._decode,
        )
        self.image_processor = SimpleNamespace(postprocess=self._postprocess)

    def _decode(self, latents: Any, return_dict: bool) -> tuple[Any]:
        assert not return_dict
        self.sizes.append(tuple(latents.shape))
        return (latents[:, :1].repeat_interleave(8, 2).repeat_interleave(8, 3),)

    def _postprocess(self, decoded: Any, output_type: str) -> list[Image.Image]:
        assert output_type == "pil"
        return [Image.fromarray((decoded[0, 0] * 255).byte().numpy())]


def colour(preview: bytes | None) -> tuple[int, ...]:
    assert preview is not None
    with Image.open(BytesIO(preview)) as image:
        return tuple(image.getpixel((image.width // 2, image.height // 2)))


def latents(*channels: float, size: int = 8) -> Any:
    return torch.tensor(channels).reshape(1, -1, 1, 1).repeat(2, 1, size, size)


@pytest.mark.parametrize(
    ("pipeline", "channels", "expected"),
    [
        pytest.param(StableDiffusionPipeline(), (0, 0, 0, 0), (127, 127, 127), id="grey"),
        pytest.param(StableDiffusionPipeline(), (2, 2, -2, 0), (255, 205, 157), id="orange"),
        pytest.param(StableDiffusionPipeline(), (0, 0, 0, 3), (57, 23, 0), id="clipped"),
        pytest.param(StableDiffusionPipeline(), (float("nan"),) * 4, (0, 0, 0), id="not a number"),
        pytest.param(StableDiffusionXLPipeline(), (0, 0, 0, 0), (150, 140, 130), id="SDXL"),
        pytest.param(StableDiffusionXLPipeline(), (1, 0, 0, 1), (140, 150, 155), id="SDXL red"),
        pytest.param(
            StableDiffusionPipeline(init_noise_sigma=14.6),
            (2 * 10**0.5, 2 * 10**0.5, -2 * 10**0.5, 0),
            (255, 205, 157),
            id="noise on top",
        ),
    ],
)
def test_known_colours(pipeline: Any, channels: Any, expected: tuple[int, ...]) -> None:
    found = colour(latent_preview(pipeline, latents(*channels)))
    assert all(abs(a - b) <= 3 for a, b in zip(found, expected, strict=True)), found


def test_other_latents_go_through_the_vae_at_a_reduced_size() -> None:
    pipeline = OtherPipeline()
    found = colour(latent_preview(pipeline, latents(*(0.5,) * 16, size=128)))
    assert pipeline.sizes == [(1, 16, 32, 32)]
    assert all(abs(channel - 127) <= 2 for channel in found)  # 0.5 / 2 + 0.25


def test_packed_latents_have_none() -> None:
    assert latent_preview(OtherPipeline(), torch.zeros(1, 64, 16)) is None
