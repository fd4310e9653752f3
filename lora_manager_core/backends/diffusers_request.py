"""What of a picture order a diffusers pipeline can take: bounds, sides, seed and prompts."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from lora_manager_core.backends.base import GenerationRequest
from lora_manager_core.common.lora_tokens import strip_tokens
from lora_manager_core.errors import InvalidRequest

MAX_IMAGES = 64
MAX_STEPS = 500
#: Seeds are taken modulo this: what torch's CPU generator accepts as a non-negative number.
SEEDS = 2**63
_RANDOM_SEEDS = 2**32  # those the host draws from
_SIDE_STEP = 8  # latents are an eighth of the picture
_MIN_SIDE, _MAX_SIDE = 64, 4096


def fitting(request: GenerationRequest, warnings: list[str]) -> GenerationRequest:
    """The request as it can be run: sides in steps of 8 and a real seed; adds to `warnings`.

    Raises:
        InvalidRequest: steps, sides or the number of pictures are out of bounds.
    """
    if not 1 <= request.steps <= MAX_STEPS:
        raise InvalidRequest(f"steps must be between 1 and {MAX_STEPS}, not {request.steps}.")
    if request.batch_size < 1 or request.n_iter < 1:
        raise InvalidRequest("batch_size and n_iter must be at least 1.")
    if request.batch_size * request.n_iter > MAX_IMAGES:
        raise InvalidRequest(
            f"{request.batch_size} x {request.n_iter} pictures are too many for one request: "
            f"at most {MAX_IMAGES}."
        )
    for side in (request.width, request.height):
        if not _MIN_SIDE <= side <= _MAX_SIDE:
            raise InvalidRequest(f"Sides are {_MIN_SIDE} to {_MAX_SIDE} px, not {side}.")
    width, height = (side - side % _SIDE_STEP for side in (request.width, request.height))
    if (width, height) != (request.width, request.height):
        warnings.append(
            f"{request.width}x{request.height} was rounded down to {width}x{height}: "
            f"sides are multiples of {_SIDE_STEP}."
        )
    if request.denoising_strength is not None:
        warnings.append("denoising_strength has no effect without a picture to start from.")
    seed = request.seed if request.seed >= 0 else random.randrange(_RANDOM_SEEDS)
    return replace(request, width=width, height=height, seed=seed % SEEDS)


def prompt_options(pipeline: Any, request: GenerationRequest) -> dict[str, Any]:
    """Prompts without LoRA tokens, one for each picture of a batch, and the guidance scale.

    Flux-like pipelines use a negative prompt only with a second guidance scale, and some do not
    know the argument, so they get it only if there is one.
    """
    options: dict[str, Any] = {
        "prompt": [strip_tokens(request.prompt)] * request.batch_size,
        "guidance_scale": request.cfg_scale,
    }
    if getattr(pipeline, "unet", None) is not None or request.negative_prompt:
        options["negative_prompt"] = [strip_tokens(request.negative_prompt)] * request.batch_size
    return options


def too_long(pipeline: Any, request: GenerationRequest) -> list[str]:
    """A warning for each prompt of which the (last) tokenizer will cut off the end."""
    tokenizer = getattr(pipeline, "tokenizer_2", None) or getattr(pipeline, "tokenizer", None)
    limit = getattr(tokenizer, "model_max_length", None)
    if tokenizer is None or limit is None:
        return []
    warnings = []
    for kind, text in (("prompt", request.prompt), ("negative prompt", request.negative_prompt)):
        length = len(tokenizer(strip_tokens(text), truncation=False, verbose=False).input_ids)
        if length > limit:
            warnings.append(
                f"The {kind} has {length} tokens, and the model reads the first {limit}: "
                "its end has no effect."
            )
    return warnings
