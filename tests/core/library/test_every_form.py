"""Every kind of network for every base model, read from a file: type, rank, base and how sure.

The tensors are as small as their widths allow; shapes are those of the trainers' own code (LyCORIS
`lycoris/modules/`, kohya sd-scripts `networks/`, PEFT) for a module of `inputs` x `outputs`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.walk import find_file

Shapes = dict[str, list[int]]
RANK = 8


def _lora(inputs: int, outputs: int) -> Shapes:
    return {"lora_down.weight": [RANK, inputs], "lora_up.weight": [outputs, RANK], "alpha": []}


def _oft(outputs: int) -> list[int]:
    return [4, outputs // 4, outputs // 4]


#: Type and form → the tensors of one module; the rank that is told, where there is one.
FORMS: dict[str, tuple[Callable[[int, int], Shapes], int | None]] = {
    "lora": (_lora, RANK),
    "lora PEFT": (lambda i, o: {"lora_A.weight": [RANK, i], "lora_B.weight": [o, RANK]}, RANK),
    "locon": (
        lambda i, o: {
            "lora_down.weight": [RANK, i, 1, 1],
            "lora_mid.weight": [RANK, RANK, 3, 3],
            "lora_up.weight": [o, RANK, 1, 1],
        },
        RANK,
    ),
    "loha": (
        lambda i, o: {
            "hada_w1_a": [o, RANK], "hada_w1_b": [RANK, i],
            "hada_w2_a": [o, RANK], "hada_w2_b": [RANK, i],
        },
        RANK,
    ),
    "lokr": (
        lambda i, o: {
            "lokr_w1": [4, 4], "lokr_w2_a": [o // 4, RANK], "lokr_w2_b": [RANK, i // 4]
        },
        RANK,
    ),
    "lokr full": (lambda i, o: {"lokr_w1": [4, 4], "lokr_w2": [o // 4, i // 4]}, None),
    "glora": (
        lambda i, o: {
            "a1.weight": [i, RANK], "a2.weight": [RANK, i],
            "b1.weight": [o, RANK], "b2.weight": [RANK, i],
        },
        RANK,
    ),
    "full": (lambda i, o: {"diff": [o, i]}, None),
    "dora": (lambda i, o: {**_lora(i, o), "dora_scale": [1, i]}, RANK),
    "dora PEFT": (
        lambda i, o: {
            "lora_A.weight": [RANK, i], "lora_B.weight": [o, RANK], "lora_magnitude_vector": [o],
        },
        RANK,
    ),
    "oft": (lambda i, o: {"oft_blocks": _oft(o), "alpha": []}, None),
    "boft": (lambda i, o: {"oft_blocks": [2, *_oft(o)], "alpha": []}, None),
    "ia3": (lambda i, o: {"weight": [o], "on_input": []}, None),
}  # fmt: skip
#: These say how wide a module is behind, but not how wide before.
ONLY_BEHIND = ("oft", "boft", "ia3")

_UNET = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
_DEEP = "lora_unet_down_blocks_2_attentions_0_transformer_blocks_9_attn1_to_q"
_BLOCKS = "lora_unet_double_blocks_0_img_attn_qkv"
_WIDE = "lora_unet_single_blocks_0_linear1"
#: Base → modules that prove it: name, inputs, outputs.
BASES: dict[str, list[tuple[str, int, int]]] = {
    "SD 1.5": [(_UNET, 768, 640)],
    "SD 2.x": [(_UNET, 1024, 640)],
    "SDXL": [(_UNET, 2048, 640)],
    "SD 3": [("lora_unet_joint_blocks_0_x_block_attn_qkv", 1536, 4608)],
    "SD 3.5 Large": [("lora_unet_joint_blocks_0_x_block_mlp_fc1", 2432, 9728)],
    "Flux.1": [(_BLOCKS, 3072, 9216), ("lora_unet_single_blocks_0_modulation_lin", 3072, 9216)],
    "Flux.1 or Chroma": [(_BLOCKS, 3072, 9216), (_WIDE, 3072, 21504)],
    "Chroma": [(_BLOCKS, 3072, 9216), ("distilled_guidance_layer.in_proj", 64, 5120)],
    "Flux.2 Klein 4B": [(_BLOCKS, 3072, 9216), (_WIDE, 3072, 27648)],
    "Flux.2 Dev": [(_BLOCKS, 6144, 18432)],
    "Qwen-Image": [("transformer_blocks.0.img_mlp.net.0.proj", 3072, 12288)],
    "Z-Image": [("diffusion_model.layers.0.attention.to_q", 3840, 3840)],
    "Wan 2.1 1.3B": [("diffusion_model.blocks.0.self_attn.q", 1536, 1536)],
    "Wan 2.2 5B": [("diffusion_model.blocks.0.self_attn.q", 3072, 3072)],
    "Wan 14B": [("diffusion_model.blocks.0.self_attn.q", 5120, 5120)],
    "Hunyuan Video": [(_BLOCKS, 3072, 9216), ("double_blocks.0.img_mlp.fc1", 3072, 12288)],
    "Hunyuan Image": [(_BLOCKS, 3584, 10752)],
}


def _row(folder: Path, modules: list[tuple[str, int, int]], form: str, **metadata: str) -> dict:
    """The columns of a file of that form for these modules."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, inputs, outputs in modules:
        for part, shape in FORMS[form][0](inputs, outputs).items():
            size = 1
            for axis in shape:
                size *= axis
            entry = {"dtype": "F8_E4M3", "shape": shape, "data_offsets": [offset, offset + size]}
            header[f"{name}.{part}"] = entry
            offset += size
    raw = json.dumps(header).encode()
    path = folder / "some.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + offset)
    return columns_from_file(find_file(path, [folder]))


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ONLY_BEHIND])
def test_tells_its_type_and_every_base(tmp_path: Path, form: str) -> None:
    for base, modules in BASES.items():
        row = _row(tmp_path, modules, form)
        assert row["file_problem"] is None
        assert (row["network_type"], row["rank"]) == (form.split()[0], FORMS[form][1]), base
        assert (row["base_model"], row["base_model_source"]) == (base, "structure")
        assert 0.8 <= row["base_model_confidence"] < 1


@pytest.mark.parametrize("form", ONLY_BEHIND)
class TestWithoutWidthsBefore:
    def test_nested_blocks_prove_sdxl(self, tmp_path: Path, form: str) -> None:
        row = _row(tmp_path, [(_DEEP, 1280, 1280)], form)
        assert (row["network_type"], row["base_model"]) == (form, "SDXL")
        assert row["rank"] is None

    def test_metadata_speaks_where_the_structure_is_open(self, tmp_path: Path, form: str) -> None:
        row = _row(tmp_path, [(_UNET, 768, 640)], form, ss_base_model_version="sd_v1")
        assert (row["network_type"], row["base_model"]) == (form, "SD 1.5")
        assert (row["base_model_source"], row["base_model_confidence"]) == ("metadata", 0.9)

    def test_nothing_is_claimed_where_nothing_tells(self, tmp_path: Path, form: str) -> None:
        row = _row(tmp_path, [(_UNET, 768, 640)], form)
        assert (row["base_model"], row["base_model_source"]) == (None, None)
        assert row["base_model_confidence"] == 0


@pytest.mark.parametrize("family", ["Pony", "Illustrious", "NoobAI", "Animagine"])
def test_a_family_of_sdxl_is_told_by_its_checkpoint_alone(tmp_path: Path, family: str) -> None:
    metadata = {"ss_base_model_version": "sdxl_base_v1-0", "ss_sd_model_name": f"my{family}_v2"}
    row = _row(tmp_path, BASES["SDXL"], "lora", **metadata)
    assert (row["base_model"], row["base_model_source"]) == (family, "name")
    assert row["base_model_confidence"] == 0.75
