"""An approximate picture of unfinished latents of the embedded backend, cheap where that is known.

For Stable Diffusion 1 and 2 and for SDXL colour is nearly a linear function of the four latent
channels; other latents go through the model's own VAE, at a reduced size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_manager_core.backends.previews import preview_jpeg

# R, G, B of each channel, for colours -1..1. Source: keturn, “Decoding latents to RGB without
# upscaling”, https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204/2
_SD1_FACTORS = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
)
# The same for colours 0..255, with what is added to each. Source: Timothy Alexis Vass,
# https://huggingface.co/blog/TimothyAlexisVass/explaining-the-sdxl-latent-space
_SDXL_FACTORS = ((60, 60, 60), (-60, -5, 10), (25, 15, -5), (-70, -50, -35))
_SDXL_OFFSET = (150, 140, 130)
#: Pixels for each latent: their edges are smoothed over.
_ENLARGED = 4
#: Latents on the longer side that a VAE is given: 32 are decoded within a quarter second on a CPU.
_VAE_SIDE = 32


def latent_preview(pipeline: Any, latents: Any) -> bytes | None:
    """The first picture of the batch as a small JPEG; None for latents of unknown form.

    `latents` is the tensor of a step, (batch, channels, height, width).
    """
    if latents.ndim != 4:
        return None  # packed, or of a video
    kind = type(pipeline).__name__
    first = _without_noise(pipeline, latents[:1])
    if latents.shape[1] == 4 and kind.startswith("StableDiffusion"):
        values = first[0].float().cpu().numpy()
        return preview_jpeg(_enlarged(_colours(values, "XL" in kind)))
    return preview_jpeg(_decoded(pipeline, first))


def _without_noise(pipeline: Any, latents: Any) -> Any:
    """Latents at the scale of finished ones: samplers of the Euler kind carry the noise on top."""
    scheduler = pipeline.scheduler
    index = getattr(scheduler, "step_index", None)
    if index is None or float(getattr(scheduler, "init_noise_sigma", 1.0)) <= 1.0:
        return latents
    sigma = float(scheduler.sigmas[min(index, len(scheduler.sigmas) - 1)])
    return latents / (sigma**2 + 1) ** 0.5


def _colours(values: NDArray[np.float32], is_sdxl: bool) -> NDArray[np.uint8]:
    """Channels first becomes colours last, 0..255."""
    if is_sdxl:
        colours: Any = np.tensordot(values, np.array(_SDXL_FACTORS), axes=(0, 0)) + _SDXL_OFFSET
    else:
        colours = (np.tensordot(values, np.array(_SD1_FACTORS), axes=(0, 0)) + 1) * 127.5
    return np.asarray(np.nan_to_num(colours).clip(0, 255), np.uint8)


def _enlarged(colours: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(colours)
    return image.resize(
        (image.width * _ENLARGED, image.height * _ENLARGED), Image.Resampling.BICUBIC
    )


def _decoded(pipeline: Any, latents: Any) -> Image.Image:
    """What the VAE makes of every n-th latent."""
    vae = pipeline.vae
    stride = -(-max(latents.shape[-2:]) // _VAE_SIDE)
    reduced = latents[:, :, ::stride, ::stride] / vae.config.scaling_factor
    shift = getattr(vae.config, "shift_factor", None)
    if shift is not None:
        reduced = reduced + shift
    decoded = vae.decode(reduced.to(vae.dtype), return_dict=False)[0]
    (image,) = pipeline.image_processor.postprocess(decoded, output_type="pil")
    return image  # type: ignore[no-any-return]  # a PIL image
