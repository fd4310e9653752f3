"""Names of modules, compared with what diffusers itself makes of them and with its models."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.library.key_names import split_key
from lora_manager_core.weights.canonical import block_group, canonical, rows_of

HEADERS = Path(__file__).parents[4] / "shared" / "data" / "adapter-headers"
SHARED = pytest.mark.skipif(not HEADERS.is_dir(), reason="the shared headers are not here")


def keys_of(header: str) -> dict[str, list[int]]:
    """Tensor names and shapes of one of the shared headers."""
    keys: dict[str, list[int]] = json.loads((HEADERS / f"{header}.json").read_text())["keys"]
    return keys


def names_of(keys: Iterable[str]) -> set[str]:
    """Our names of all modules with a low-rank part."""
    split = [split_key(key) for key in keys]
    return {
        name
        for module in {key.module for key in split if key.part == "down"}
        for name in canonical(module).names
    }


def flat(dotted: Iterable[str]) -> set[str]:
    """Keys of diffusers as canonical names, by nothing but cutting off both ends."""
    names = set()
    for key in dotted:
        for end in (".lora_A.weight", "_lora.down.weight", ".lora_linear_layer.down.weight"):
            if key.endswith(end):
                name = key.removesuffix(end).removeprefix("base_model.model.")
                name = name.removeprefix("transformer.").replace(".", "_")
                if name.startswith("text_encoder_text_model_"):
                    name = "CLIP-L." + name.removeprefix("text_encoder_text_model_")
                    for part in ("q", "k", "v", "out"):
                        name = name.replace(f"attn_to_{part}", f"attn_{part}_proj")
                names.add(name)
    return names


def states(keys: dict[str, list[int]]) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    return {key: torch.ones(shape) for key, shape in keys.items()}


@SHARED
@pytest.mark.embedded
class TestSharedHeaders:
    @pytest.mark.parametrize("header", ["flux_lora_kohya", "flux_lora_kohya_with_te1"])
    def test_of_kohya_are_named_as_diffusers_names_them(self, header: str) -> None:
        utils = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
        keys = keys_of(header)

        converted = utils._convert_kohya_flux_lora_to_diffusers(states(keys))

        assert names_of(keys) == flat(converted)

    def test_of_a_control_lora_are_named_as_diffusers_names_them(self) -> None:
        utils = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
        keys = keys_of("flux_control_lora")

        converted = flat(utils._convert_bfl_flux_control_lora_to_diffusers(states(keys)))

        converted.remove("norm_out_linear")  # its halves stand in the other order there
        assert names_of(keys) == converted | {"norm_out_linear_scale", "norm_out_linear_shift"}

    def test_of_ai_toolkit_are_named_as_diffusers_names_them(self) -> None:
        utils = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
        keys = keys_of("flux_lora_aitoolkit")
        as_kohya = {}
        for key, shape in keys.items():
            module, _, end = key.removeprefix("diffusion_model.").partition(".lora_")
            end = "lora_down.weight" if end.startswith("A") else "lora_up.weight"
            as_kohya[f"lora_unet_{module.replace('.', '_')}.{end}"] = shape

        assert names_of(keys) == flat(utils._convert_kohya_flux_lora_to_diffusers(states(as_kohya)))

    @pytest.mark.parametrize("header", ["anima_lora_peft", "anima_lora_kohya"])
    def test_of_anima_are_named_as_diffusers_names_them(self, header: str) -> None:
        utils = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
        keys = keys_of(header)
        dotted = {}
        for key, shape in keys.items():
            if header.endswith("peft"):
                dotted[key] = shape
                continue
            module, _, end = key.removeprefix("lora_unet_blocks_").partition(".")
            number, _, rest = module.partition("_")
            for word in ("self_attn_", "adaln_modulation_cross_attn_", "mlp_"):
                if rest.startswith(word):
                    rest = f"{word[:-1]}.{rest.removeprefix(word)}"
            rest = rest.replace("cross_attn_", "cross_attn.") if rest.startswith("cross") else rest
            if end == "lora_down.weight":
                dotted[f"diffusion_model.blocks.{number}.{rest}.lora_A.weight"] = shape

        converted = utils._convert_non_diffusers_anima_lora_to_diffusers(states(dotted))

        assert names_of(keys) == flat(converted)

    @pytest.mark.parametrize(
        "header",
        [
            "flux_lora_diffusers",
            "flux_lora_diffusers_base_model",
            "flux_lora_diffusers_no_proj_mlp",
        ],
    )
    def test_of_diffusers_are_left_as_they_are(self, header: str) -> None:
        keys = keys_of(header)
        assert names_of(keys) == flat(keys)

    def test_of_qwen_image_are_left_as_they_are(self) -> None:
        assert names_of(keys_of("qwen_image_lora_diffusers")) == {
            "transformer_blocks_0_attn_to_k",
            "transformer_blocks_0_attn_to_q",
            "transformer_blocks_1_attn_to_k",
        }

    def test_of_one_trainer_name_modules_that_the_model_has(self) -> None:
        keys = keys_of("flux_dora_onetrainer")
        known = names_of(keys_of("flux_lora_diffusers"))
        named = names_of(keys)

        denoiser = {name for name in named if "." not in name}
        encoders = {name.partition(".")[0] for name in named if "." in name}
        assert denoiser <= known
        assert encoders == {"CLIP-L", "T5"}
        assert len(named) == len({split_key(key).module for key in keys})

    def test_all_rows_of_a_fused_module_are_shared_out(self) -> None:
        keys = keys_of("flux_lora_kohya")
        for key, shape in keys.items():
            name = split_key(key)
            if name.part == "up":
                where = canonical(name.module)
                down = keys[key.replace("lora_up", "lora_down")]
                rows = rows_of(where.split, len(where.names), shape[0], down[1])
                assert rows is not None, key
                assert [begin for begin, _ in rows] == [0, *(end for _, end in rows[:-1])]
                assert rows[-1][1] == shape[0]
                assert len(rows) == len(where.names)


def sdxl_modules_of_sgm() -> list[str]:
    """Every layer of SDXL's UNet as its original code numbers them (sgm `openaimodel.py`)."""
    resnet = ("in_layers_2", "emb_layers_1", "out_layers_3")
    names = ["input_blocks_0_0", "out_2", "input_blocks_3_0_op", "input_blocks_6_0_op"]
    names += ["output_blocks_2_2_conv", "output_blocks_5_2_conv"]
    names += [f"{place}_{n}" for place in ("time_embed", "label_emb_0") for n in (0, 2)]
    attention = {4: 2, 5: 2, 7: 10, 8: 10}
    for block in (1, 2, 4, 5, 7, 8):
        names += [f"input_blocks_{block}_0_{layer}" for layer in resnet]
        if block in (4, 7):
            names.append(f"input_blocks_{block}_0_skip_connection")
        if block in attention:
            names += transformer(f"input_blocks_{block}_1", attention[block])
    for block in (0, 2):
        names += [f"middle_block_{block}_{layer}" for layer in resnet]
    names += transformer("middle_block_1", 10)
    for block in range(9):
        names += [f"output_blocks_{block}_0_{layer}" for layer in (*resnet, "skip_connection")]
        if block < 6:
            names += transformer(f"output_blocks_{block}_1", 10 if block < 3 else 2)
    return names


def transformer(start: str, depth: int) -> list[str]:
    names = [f"{start}_proj_in", f"{start}_proj_out"]
    for block in range(depth):
        inner = f"{start}_transformer_blocks_{block}"
        names += [f"{inner}_{a}_to_{p}" for a in ("attn1", "attn2") for p in ("q", "k", "v")]
        names += [f"{inner}_{a}_to_out_0" for a in ("attn1", "attn2")]
        names += [f"{inner}_ff_net_0_proj", f"{inner}_ff_net_2"]
    return names


@pytest.mark.embedded
class TestUnet:
    def test_every_layer_of_sdxl_meets_the_one_of_diffusers(self) -> None:
        torch = pytest.importorskip("torch")
        diffusers = pytest.importorskip("diffusers")
        with torch.device("meta"):
            unet = diffusers.UNet2DConditionModel(
                block_out_channels=(320, 640, 1280),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                transformer_layers_per_block=[1, 2, 10],
                attention_head_dim=[5, 10, 20],
                cross_attention_dim=2048,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=2816,
            )
        layers = {
            name.replace(".", "_")
            for name, module in unet.named_modules()
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
        }

        named = {canonical(f"lora_unet_{name}").names[0] for name in sdxl_modules_of_sgm()}

        assert named == layers


class TestCanonical:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
             "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"),
            ("lora_unet_output_blocks_3_1_proj_in", "unet.up_blocks.1.attentions.0.proj_in"),
            ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out",
             "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_out_0"),
            ("lora_te_text_model_encoder_layers_3_self_attn_q_proj",
             "text_encoder.text_model.encoder.layers.3.self_attn.to_q"),
            ("lora_te1_text_model_encoder_layers_3_mlp_fc1",
             "clip_l.transformer.text_model.encoder.layers.3.mlp.fc1"),
            ("lora_te2_text_model_encoder_layers_3_mlp_fc1",
             "text_encoder_2.text_model.encoder.layers.3.mlp.fc1"),
            ("double_blocks.2.processor.proj2", "transformer.transformer_blocks.2.attn.to_add_out"),
            ("lora_unet_joint_blocks_5_context_block_attn_proj",
             "transformer.transformer_blocks.5.attn.to_add_out"),
            ("diffusion_model.blocks.7.self_attn.o", "transformer.blocks.7.attn1.to_out.0"),
            ("lora_unet_blocks_7_ffn_0", "transformer.blocks.7.ffn.net.0.proj"),
            ("diffusion_model.layers.1.attention.out", "transformer.layers.1.attention.to_out.0"),
            ("diffusion_model.noise_refiner.1.feed_forward.w2",
             "transformer.noise_refiner.1.feed_forward.linear_2"),
            ("diffusion_model.single_blocks.4.linear2",
             "transformer.single_transformer_blocks.4.attn.to_out"),
            ("diffusion_model.blocks.3.attn.wq", "transformer.transformer_blocks.3.attn.to_q"),
            ("diffusion_model.first", "transformer.img_in"),
        ],
    )  # fmt: skip
    def test_two_spellings_meet(self, one: str, other: str) -> None:
        assert canonical(one) == canonical(other)

    @pytest.mark.parametrize(
        ("fused", "parts"),
        [
            ("lora_unet_double_blocks_0_img_attn_qkv",
             [f"transformer.transformer_blocks.0.attn.to_{p}" for p in "qkv"]),
            ("double_blocks.0.processor.qkv1",
             [f"transformer.transformer_blocks.0.attn.to_{p}" for p in "qkv"]),
            ("lora_unet_joint_blocks_0_context_block_attn_qkv",
             [f"transformer.transformer_blocks.0.attn.add_{p}_proj" for p in "qkv"]),
            ("diffusion_model.layers.0.attention.qkv",
             [f"transformer.layers.0.attention.to_{p}" for p in "qkv"]),
            ("diffusion_model.single_blocks.0.linear1",
             [*(f"transformer.single_transformer_blocks.0.attn.to_{p}" for p in "qkv"),
              "transformer.single_transformer_blocks.0.proj_mlp"]),
        ],
    )  # fmt: skip
    def test_a_fused_module_meets_its_parts(self, fused: str, parts: list[str]) -> None:
        assert canonical(fused).names == tuple(canonical(part).names[0] for part in parts)

    def test_an_unknown_module_keeps_a_name_of_its_own(self) -> None:
        known = canonical("lora_unet_somewhere_3_else")
        assert known == canonical("diffusion_model.somewhere.3.else")
        assert known.names == ("somewhere_3_else",)
        assert known.split == "whole"


class TestRowsOf:
    def test_queries_of_lumina_are_more_than_keys(self) -> None:
        assert rows_of("attention", 3, 3840, 2304) == [(0, 2304), (2304, 3072), (3072, 3840)]

    def test_the_mlp_of_a_single_block_has_the_rest(self) -> None:
        assert rows_of("single", 4, 21504, 3072) == [
            (0, 3072), (3072, 6144), (6144, 9216), (9216, 21504)
        ]  # fmt: skip

    @pytest.mark.parametrize("split", ["attention", "single", "halves"])
    def test_widths_that_do_not_fit_are_said_so(self, split: str) -> None:
        assert rows_of(split, 2, 7, 8) is None  # type: ignore[arg-type]


class TestBlockGroup:
    @pytest.mark.parametrize(
        ("module", "group"),
        [
            ("lora_te_text_model_encoder_layers_0_mlp_fc1", "text"),
            ("lora_unet_input_blocks_4_1_proj_in", "in"),
            ("lora_unet_middle_block_1_proj_in", "mid"),
            ("lora_unet_output_blocks_4_1_proj_in", "out"),
            ("lora_unet_double_blocks_0_img_mlp_0", "double"),
            ("lora_unet_single_blocks_0_linear2", "single"),
            ("diffusion_model.blocks.0.self_attn.q", "blocks"),
            ("diffusion_model.time_in.in_layer", "other"),
        ],
    )
    def test_is_where_a_module_sits(self, module: str, group: str) -> None:
        assert block_group(canonical(module).names[0]) == group
