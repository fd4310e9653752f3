"""A tiny random-weight Stable Diffusion pipeline and a small LoRA library that fits it.

Both are made offline and always alike, so that the quick start and the tests have something real to
apply. The pictures mean nothing; that a LoRA changes them does. Needs the `embedded` extra.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from lora_manager_core.backends.embedded_extra import embedded_extra, hide_progress_bars

if TYPE_CHECKING:
    import torch

_SEED = 20260723
_RANK = 4
_WORDS = ("portrait", "city", "forest", "night", "light", "watercolor", "ink", "dragon", "garden")

#: kohya's way of naming layers and PEFT's, by the `keys` of a sample.
_KOHYA, _PEFT = "kohya", "peft"


@dataclass(frozen=True, slots=True)
class _Sample:
    """What one file of the library is made of; `layers` picks modules by component and path."""

    path: str
    title: str
    layers: Callable[[str, str], bool]
    strength: float
    keys: str = _KOHYA
    tags: tuple[str, ...] = ()
    info: dict[str, Any] | None = None
    module: str = "networks.lora"
    args: dict[str, str] = field(default_factory=dict)


def build_tiny_pipeline(folder: Path) -> Path:
    """Save a Stable Diffusion pipeline of about a million weights into `folder`; returns it.

    UNet blocks 32/64 with cross-attention width 32, a VAE of four stages, CLIP of width 32 and a
    byte tokenizer. 128x128 in 5 steps takes well under a second on a CPU.

    Raises:
        ExtraNotInstalled: torch, diffusers or transformers is missing.
    """
    with embedded_extra():
        import torch
        from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        unet = _unet()
        vae = AutoencoderKL(
            block_out_channels=(16, 16, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=128,
        )
        tokenizer = _byte_tokenizer()
        text_encoder = _text_encoder(tokenizer)
        _spread(vae.decoder, 1.6)
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    pipeline = StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    hide_progress_bars()
    pipeline.save_pretrained(folder)
    return folder


def _unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=16,
    )


def _text_encoder(tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _byte_tokenizer() -> Any:
    """A CLIP tokenizer over single characters and a few words: no download, any text encodes."""
    from transformers import CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)] + [chr(c) for c in range(161, 256)]
    merges: list[tuple[str, str]] = []
    vocab = {token: i for i, token in enumerate([*letters, *(f"{c}</w>" for c in letters)])}
    for word in _WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merged = pieces[0] + pieces[1]
            if merged not in vocab:
                vocab[merged] = len(vocab)
                merges.append((pieces[0], pieces[1]))
            pieces[:2] = [merged]
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def _spread(module: torch.nn.Module, factor: float) -> None:
    """Widen random weights, so that pictures have contrast instead of an even grey."""
    for name, parameter in module.named_parameters():
        if name.endswith("weight") and parameter.ndim > 1:
            parameter.data.mul_(factor)


def build_sample_library(folder: Path) -> tuple[Path, ...]:
    """Write six LoRA files fitting `build_tiny_pipeline`, with previews and side files, as trained.

    Kohya keys (denoiser only; with text encoder), PEFT keys, a LoCon with convolutions; one in a
    sub-folder and one with a dot in its name. The same folder content every time.

    Raises:
        ExtraNotInstalled: torch, diffusers or transformers is missing.
    """
    with embedded_extra():
        import torch
        from safetensors.torch import save_file
    with torch.random.fork_rng(devices=[]):
        models = {"unet": _unet(), "text_encoder": _text_encoder(_byte_tokenizer())}
    written: list[Path] = []
    for number, sample in enumerate(_SAMPLES):
        file = folder / sample.path
        file.parent.mkdir(parents=True, exist_ok=True)
        random = torch.Generator().manual_seed(_SEED + number)
        save_file(_tensors(sample, models, random), file, metadata=_metadata(sample, file))
        _preview(sample, number).save(file.with_suffix(".png"))
        if sample.info is not None:
            side_file = file.with_suffix(".civitai.info")
            side_file.write_text(json.dumps(sample.info, indent=2), encoding="utf-8")
        written.append(file)
    return tuple(written)


def _tensors(sample: _Sample, models: dict[str, Any], random: torch.Generator) -> dict[str, Any]:
    import torch

    tensors: dict[str, torch.Tensor] = {}
    for component, model in models.items():
        for name, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if weight is None or weight.ndim < 2 or not sample.layers(component, name):
                continue
            inputs, kernel = weight.shape[1], weight.shape[2:]
            fan_in = inputs * int(kernel.numel())
            down = torch.randn((_RANK, inputs, *kernel), generator=random) / fan_in**0.5
            shape = (weight.shape[0], _RANK, *(1 for _ in kernel))
            up = torch.randn(shape, generator=random) * sample.strength
            if sample.keys == _PEFT:
                tensors[f"{component}.{name}.lora_A.weight"] = down.half()
                tensors[f"{component}.{name}.lora_B.weight"] = up.half()
                continue
            layer = name.replace(".", "_")
            # sd-scripts names the encoder's layers from a parent module that newer CLIP has lost
            prefix = "lora_unet" if component == "unet" else "lora_te_text_model"
            tensors[f"{prefix}_{layer}.lora_down.weight"] = down.half()
            tensors[f"{prefix}_{layer}.lora_up.weight"] = up.half()
            tensors[f"{prefix}_{layer}.alpha"] = torch.tensor(float(_RANK))
    return tensors


def _metadata(sample: _Sample, file: Path) -> dict[str, str]:
    """What sd-scripts writes into a header: `ss_*` (training) and ModelSpec 1.0.1 members."""
    modelspec = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": sample.title,
        "modelspec.description": f"Random weights for the tiny sample pipeline: {sample.title}.",
        "modelspec.trigger_phrase": ", ".join(sample.tags[:1]),
        "modelspec.resolution": "512x512",
        "modelspec.date": "2026-05-01T12:00:00",
        "format": "pt",
    }
    if sample.keys == _PEFT:
        return modelspec
    frequency = {tag: 40 - 7 * rank for rank, tag in enumerate(sample.tags)}
    return modelspec | {
        "ss_output_name": file.stem,
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "v1-5-pruned-emaonly.safetensors",
        "ss_v2": "False",
        "ss_network_module": sample.module,
        "ss_network_dim": str(_RANK),
        "ss_network_alpha": str(float(_RANK)),
        "ss_network_args": json.dumps(sample.args),
        "ss_num_train_images": "40",
        "ss_num_epochs": "10",
        "ss_steps": "400",
        "ss_resolution": "(512, 512)",
        "ss_clip_skip": "None",
        "ss_tag_frequency": json.dumps({f"10_{sample.tags[0]}": frequency}),
    }


def _preview(sample: _Sample, number: int) -> Image.Image:
    """A 256x384 card picture: two colours, a disc, the title."""
    top = (40 + 37 * number % 160, 60 + 83 * number % 150, 90 + 59 * number % 140)
    low = tuple(255 - channel for channel in top)
    column = Image.new("RGB", (1, 2))
    column.putdata([top, low])
    image = column.resize((256, 384), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    radius = 50 + 9 * number
    draw.ellipse((128 - radius, 150 - radius, 128 + radius, 150 + radius), fill=top, outline=low)
    draw.text((16, 350), sample.title, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    return image


def _attention(component: str, name: str) -> bool:
    return component == "unet" and ("attn" in name or ".ff." in name)


def _attention_and_text(component: str, name: str) -> bool:
    return _attention(component, name) or (component == "text_encoder" and ".layers." in name)


def _text_only(component: str, name: str) -> bool:
    return component == "text_encoder" and ".layers." in name


def _with_convolutions(component: str, name: str) -> bool:
    return _attention(component, name) or (component == "unet" and ".conv" in name)


def _civitai(title: str, trigger: str, description: str) -> dict[str, Any]:
    """A Civitai version document without ids: nothing on the site belongs to these files."""
    return {
        "name": "v1.0",
        "baseModel": "SD 1.5",
        "trainedWords": [trigger],
        "description": f"<p>{description}</p>",
        "model": {"name": title, "type": "LORA", "nsfw": False},
        "images": [],
    }


_SAMPLES = (
    _Sample(
        path="styles/amber_watercolor.safetensors",
        title="Amber Watercolor",
        layers=_attention,
        strength=1.0,
        tags=("ambwc", "watercolor", "paper texture", "soft light"),
        info=_civitai("Amber Watercolor", "ambwc", "Warm washes on rough paper."),
    ),
    _Sample(
        path="styles/ink_portrait.safetensors",
        title="Ink Portrait",
        layers=_attention_and_text,
        strength=1.0,
        tags=("inkprt", "portrait", "ink", "monochrome"),
        info=_civitai("Ink Portrait", "inkprt", "Brush and ink portraits, text encoder trained."),
    ),
    _Sample(
        path="backgrounds/night_city.safetensors",
        title="Night City",
        layers=_attention,
        strength=1.7,
        keys=_PEFT,
        tags=("night city",),
    ),
    _Sample(
        path="backgrounds/garden.v2.safetensors",
        title="Garden v2",
        layers=_with_convolutions,
        strength=0.8,
        tags=("grdn", "garden", "flowers", "morning"),
        module="lycoris.kohya",
        args={"algo": "locon", "conv_dim": str(_RANK), "conv_alpha": str(_RANK)},
        info=_civitai("Garden", "grdn", "Overgrown gardens; a LoCon with convolutions."),
    ),
    _Sample(
        path="characters/dragon_tamer.safetensors",
        title="Dragon Tamer",
        layers=_attention_and_text,
        strength=1.0,
        keys=_PEFT,
        tags=("dragon tamer",),
    ),
    _Sample(
        path="words_only.safetensors",
        title="Words Only",
        layers=_text_only,
        strength=9.0,
        tags=("wrdonly", "forest", "light"),
    ),
)
