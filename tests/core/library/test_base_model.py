"""Which base model an adapter belongs to, and how sure that is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.common.base_labels import SDXL_FAMILIES, narrower
from lora_manager_core.library.base_model import (
    ARCHITECTURES,
    BaseModel,
    architecture_of,
    base_model_of,
    compatible,
    normalise_label,
)
from lora_manager_core.library.network_type import Layout, describe_network
from lora_manager_core.library.structure import structure_of

HEADERS = Path(__file__).parents[4] / "shared" / "data" / "adapter-headers"
SDXL_METADATA = {"ss_base_model_version": "sdxl_base_v1-0"}


def layout(*modules: tuple[str, int, int]) -> Layout:
    """kohya-style low-rank pairs of modules (name, in, out)."""
    tensors: dict[str, Any] = {}
    for name, inputs, outputs in modules:
        tensors[f"{name}.lora_down.weight"] = {"shape": [8, inputs]}
        tensors[f"{name}.lora_up.weight"] = {"shape": [outputs, 8]}
    return describe_network(tensors).layout


def told(*modules: tuple[str, int, int]) -> str | None:
    finding = structure_of(layout(*modules))
    return finding.label if finding else None


UNET = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0"
SDXL_LAYOUT = (("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048, 640),)
FLUX = "lora_unet_double_blocks_0"
SINGLE = "lora_unet_single_blocks_0"
DIFFUSERS = "transformer.single_transformer_blocks.0"


class TestStructure:
    @pytest.mark.parametrize(
        ("modules", "label"),
        [
            pytest.param([(f"{UNET}_attn2_to_k", 768, 640)], "SD 1.5", id="reads 768"),
            pytest.param([(f"{UNET}_attn2_to_k", 1024, 640)], "SD 2.x", id="reads 1024"),
            pytest.param([(f"{UNET}_attn2_to_k", 2048, 640)], "SDXL", id="reads 2048"),
            pytest.param([(f"{UNET}_attn2_to_k", 1280, 768)], "SDXL Refiner", id="reads 1280"),
            pytest.param([(f"{UNET}_attn2_to_k", 25, 25)], None, id="made-up widths"),
            pytest.param([(f"{UNET}_attn1_to_k", 640, 640)], None, id="one block of attn1"),
            pytest.param(
                [(f"{UNET[:-1]}9_attn1_to_q", 1280, 1280)],
                "SDXL", id="slider: self-attention, nested deeply",
            ),
            pytest.param(
                [("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", 640, 640)],
                "SDXL", id="slider: self-attention in SDXL's spelling",
            ),
            pytest.param(
                [("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 768, 768)],
                "SD 1.5", id="text encoder of SD 1.5 alone",
            ),
            pytest.param(
                [("joint_blocks.0.x_block.attn.qkv", 2432, 7296)], "SD 3.5 Large", id="SD 3.5 Large"
            ),
            pytest.param(
                [("transformer.transformer_blocks.0.attn.to_q", 1536, 1536),
                 ("transformer.transformer_blocks.0.attn2.to_q", 1536, 1536)],
                "SD 3.5 Medium", id="SD 3.5 Medium has a second attention",
            ),
            pytest.param(
                [("transformer.transformer_blocks.0.attn.to_q", 1536, 1536)], "SD 3",
                id="SD 3 medium or 3.5 medium",
            ),
            pytest.param(
                [(f"{FLUX}_img_attn_qkv", 3072, 9216), (f"{FLUX}_img_mod_lin", 3072, 18432),
                 (f"{SINGLE}_linear1", 3072, 21504)],
                "Flux.1", id="Flux.1 with modulation",
            ),
            pytest.param(
                [(f"{FLUX}_img_attn_qkv", 3072, 9216), (f"{SINGLE}_linear1", 3072, 21504)],
                "Flux.1 or Chroma", id="the skeleton of Flux.1 and Chroma",
            ),
            pytest.param(
                [(f"{FLUX}_img_attn_qkv", 3072, 9216),
                 ("lora_unet_distilled_guidance_layer_in_proj", 64, 5120)],
                "Chroma", id="Chroma",
            ),
            pytest.param([(f"{FLUX}_img_attn_qkv", 25, 25)], None, id="flux names, made-up widths"),
            pytest.param(
                [(f"{FLUX}_img_attn_qkv", 3072, 9216), (f"{SINGLE}_linear1", 3072, 27648)],
                "Flux.2 Klein 4B", id="Klein 4B: gated MLP",
            ),
            pytest.param(
                [(f"{DIFFUSERS}.attn.to_qkv_mlp_proj", 4096, 36864)],
                "Flux.2 Klein 9B", id="Klein 9B",
            ),
            pytest.param(
                [("diffusion_model.double_blocks.0.img_attn.qkv", 6144, 18432)],
                "Flux.2 Dev", id="Flux.2 Dev",
            ),
            pytest.param(
                [("transformer.context_embedder", 15360, 6144),
                 ("transformer.double_stream_modulation_img.linear", 6144, 36864)],
                "Flux.2 Dev", id="Flux.2 by the text it reads",
            ),
            pytest.param(
                [("lora_unet_transformer_blocks_0_img_mlp_net_0_proj", 3072, 12288)],
                "Qwen-Image", id="Qwen-Image",
            ),
            pytest.param(
                [("diffusion_model.layers.0.attention.to_q", 3840, 3840)], "Z-Image", id="Z-Image"
            ),
            pytest.param(
                [("diffusion_model.layers.0.attention.qkv", 2304, 3840)], "Lumina 2", id="Lumina 2"
            ),
            pytest.param(
                [("diffusion_model.blocks.0.self_attn.q", 1536, 1536)],
                "Wan 2.1 1.3B", id="Wan 1.3B",
            ),
            pytest.param([("blocks.0.ffn.0", 3072, 14336)], "Wan 2.2 5B", id="Wan 5B"),
            pytest.param([("blocks.0.cross_attn.k", 5120, 5120)], "Wan 14B", id="Wan 14B"),
            pytest.param(
                [("lora_unet_blocks_0_cross_attn_k", 5120, 5120),
                 ("lora_unet_blocks_0_cross_attn_k_img", 5120, 5120)],
                "Wan 2.1 14B I2V", id="Wan image to video",
            ),
            pytest.param(
                [("diffusion_model.blocks.0.cross_attn.q_proj", 2048, 2048)], "Anima", id="Anima"
            ),
            pytest.param(
                [("blocks.0.attn.wq", 3000, 3000), ("blocks.0.attn.gate", 3000, 3000)], "Krea 2",
                id="Krea 2",
            ),
            pytest.param(
                [("lora_unet_double_blocks_0_img_attn_qkv", 3072, 9216),
                 ("lora_unet_double_blocks_0_img_mlp_fc1", 3072, 12288)],
                "Hunyuan Video", id="Hunyuan Video",
            ),
            pytest.param(
                [("transformer.double_stream_blocks.0.block.attn1.to_q", 2560, 2560)], "HiDream",
                id="HiDream",
            ),
            pytest.param(
                [("diffusion_model.transformer_blocks.0.attn1.to_q", 2048, 2048)], "LTX", id="LTX"
            ),
            pytest.param([("some.other.model.layer", 777, 777)], None, id="something else"),
            pytest.param([], None, id="no tensors"),
        ],
    )  # fmt: skip
    def test_is_told_by_widths(self, modules, label: str | None) -> None:
        assert told(*modules) == label

    def test_a_1x1_convolution_tells_sd_1_from_sd_2(self) -> None:
        key = "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"
        sd1 = describe_network({key: {"shape": [8, 320, 1, 1]}}).layout
        sd2 = describe_network({key: {"shape": [8, 320]}}).layout
        assert [f and f.label for f in map(structure_of, (sd1, sd2))] == ["SD 1.5", "SD 2.x"]

    @pytest.mark.skipif(not HEADERS.is_dir(), reason="shared/ does not lie beside the checkout")
    def test_every_real_header_is_named_rightly(self) -> None:
        wrong = {}
        for path in sorted(HEADERS.glob("*.json")):
            document = json.loads(path.read_text(encoding="utf-8"))
            tensors = {key: {"shape": shape} for key, shape in document["keys"].items()}
            finding = structure_of(describe_network(tensors).layout)
            expected = normalise_label(document["base_model"])
            assert expected is not None
            # Without modulation layers Flux.1 and Chroma cannot be told apart: that is said.
            if finding is None or narrower(finding.label, expected) != expected:
                wrong[path.name] = finding
        assert wrong == {}


class TestBaseModelOf:
    def test_structure_decides(self) -> None:
        found = base_model_of(layout(*SDXL_LAYOUT), {}, None, ["thing"])
        assert found == BaseModel("SDXL", "structure", 0.99)

    def test_metadata_decides_where_the_structure_is_open(self) -> None:
        found = base_model_of(layout(), {"modelspec.architecture": "flux-1-dev/lora"}, None, [])
        assert (found.label, found.source) == ("Flux.1", "metadata")

    def test_a_contradiction_is_said(self) -> None:
        found = base_model_of(
            layout(*SDXL_LAYOUT), {"ss_base_model_version": "sd_v1"}, "SD 1.5", []
        )
        assert (found.label, found.source) == ("SDXL", "conflict")
        assert found.confidence <= 0.6

    def test_an_undecided_structure_is_made_exact_by_metadata(self) -> None:
        modules = [(f"{FLUX}_img_attn_qkv", 3072, 9216), (f"{SINGLE}_linear1", 3072, 21504)]
        for name, label in (("chroma", "Chroma"), ("flux-1-dev/lora", "Flux.1")):
            found = base_model_of(layout(*modules), {"modelspec.architecture": name}, None, [])
            assert (found.label, found.source) == (label, "metadata")

    def test_a_side_file_makes_wan_more_exact(self) -> None:
        modules = [("lora_unet_blocks_0_cross_attn_k", 5120, 5120)]
        found = base_model_of(layout(*modules), {}, "Wan Video 2.2 I2V-A14B", [])
        assert (found.label, found.source) == ("Wan 2.2 14B I2V", "side file")

    def test_the_side_file_alone(self) -> None:
        assert base_model_of(None, {}, "Pony", []) == BaseModel("Pony", "side file", 0.85)

    def test_the_more_exact_metadata_field_wins(self) -> None:
        metadata = {"ss_base_model_version": "wan", "modelspec.architecture": "wan2.2-i2v/lora"}
        assert base_model_of(None, metadata, None, []).label == "Wan 2.2 14B I2V"

    def test_early_trainers_wrote_only_ss_v2(self) -> None:
        assert base_model_of(None, {"ss_v2": "True"}, None, []).label == "SD 2.x"

    @pytest.mark.parametrize(
        ("name", "label"),
        [("hero_pony_v2", "Pony"), ("hero sdxl illustrious", "Illustrious"),
         ("flux-hero", "Flux.1"),
         ("ponytail", None), ("chroma_hero", None), ("swan", None)],
    )  # fmt: skip
    def test_names_speak_last_and_only_in_whole_words(self, name: str, label: str | None) -> None:
        found = base_model_of(None, {}, None, [name, "folder"])
        assert found.label == label
        assert found.confidence <= 0.5

    def test_nothing_known(self) -> None:
        assert base_model_of(None, {}, "Other", ["thing", ""]) == BaseModel(None, None, 0.0)


class TestFamilies:
    def test_the_side_file_names_the_family(self) -> None:
        found = base_model_of(layout(*SDXL_LAYOUT), SDXL_METADATA, "Illustrious", [])
        assert (found.label, found.source) == ("Illustrious", "side file")
        assert found.confidence < 0.99

    @pytest.mark.parametrize(
        ("checkpoint", "family"),
        [("ponyDiffusionV6XL_v6.safetensors", "Pony"), ("waiNSFWIllustrious_v110", "Illustrious"),
         ("noobaiXLNAIXL_vPred10", "NoobAI"), ("animagine-xl-3.1", "Animagine"),
         ("sd_xl_base_1.0", "SDXL")],
    )  # fmt: skip
    def test_the_checkpoint_it_was_trained_on_names_the_family(self, checkpoint, family) -> None:
        metadata = {**SDXL_METADATA, "ss_sd_model_name": checkpoint}
        assert base_model_of(None, metadata, None, []).label == family

    def test_a_plain_side_file_outweighs_the_file_name(self) -> None:
        assert base_model_of(None, SDXL_METADATA, "SDXL 1.0", ["my pony"]).label == "SDXL"

    def test_quality_tags_of_pony(self) -> None:
        found = base_model_of(None, SDXL_METADATA, None, ["x"], top_tags={"score_9": 4})
        assert (found.label, found.source) == ("Pony", "name")

    def test_never_leaves_sdxl(self) -> None:
        found = base_model_of(None, {"ss_base_model_version": "sd_v1"}, None, ["pony"])
        assert found.label == "SD 1.5"


class TestLabels:
    @pytest.mark.parametrize(
        ("text", "label"),
        [
            ("SD 1.5", "SD 1.5"), ("sd_v1", "SD 1.5"), ("stable-diffusion-v1/lora", "SD 1.5"),
            ("SD 1.5 LCM", "SD 1.5"), ("SD 2.1", "SD 2.x"), ("sd_v2", "SD 2.x"),
            ("stable-diffusion-v2-768-v/lora", "SD 2.x"), ("SDXL 1.0", "SDXL"),
            ("sdxl_base_v1-0", "SDXL"), ("stable-diffusion-xl-v1-base/lora", "SDXL"),
            ("stable-diffusion-xl-v1-refiner", "SDXL Refiner"), ("SDXL Lightning", "SDXL"),
            ("Pony", "Pony"), ("Pony V7", "AuraFlow"), ("Illustrious", "Illustrious"),
            ("NoobAI", "NoobAI"), ("SD 3.5", "SD 3"), ("SD 3.5 Large Turbo", "SD 3.5 Large"),
            ("stable-diffusion-3.5-medium", "SD 3.5 Medium"), ("Flux.1 D", "Flux.1"),
            ("flux1", "Flux.1"), ("flux-1-dev/lora", "Flux.1"), ("Flux.1 Kontext", "Flux.1"),
            ("Flux.2 D", "Flux.2 Dev"), ("Flux.2 Klein 9B-base", "Flux.2 Klein 9B"),
            ("flux2_klein_4b", "Flux.2 Klein 4B"), ("Chroma", "Chroma"), ("Qwen", "Qwen-Image"),
            ("qwen_image", "Qwen-Image"), ("qwen-image/lora", "Qwen-Image"),
            ("ZImageTurbo", "Z-Image"), ("z_image", "Z-Image"), ("z-image-turbo/lora", "Z-Image"),
            ("zimage:turbo", "Z-Image"), ("Lumina", "Lumina 2"), ("wan", "Wan"),
            ("Wan Video 1.3B t2v", "Wan 2.1 1.3B"), ("Wan Video 14B i2v 480p", "Wan 14B I2V"),
            ("wan21:14b", "Wan 2.1 14B"), ("Wan Video 2.2 TI2V-5B", "Wan 2.2 5B"),
            ("Wan Video 2.2 T2V-A14B", "Wan 2.2 14B"),
            ("Wan Video 2.2 I2V-A14B", "Wan 2.2 14B I2V"), ("wan2.2-i2v/lora", "Wan 2.2 14B I2V"),
            ("Anima", "Anima"), ("Krea 2", "Krea 2"), ("Hunyuan Video", "Hunyuan Video"),
            ("HiDream", "HiDream"), ("LTXV", "LTX"), ("AuraFlow", "AuraFlow"),
            ("PixArt a", "PixArt"), ("Kolors", "Kolors"),
            ("Other", None), ("", None), ("AnimateDiff", None), ("wanderer", None), ("Grok", None),
        ],
    )  # fmt: skip
    def test_known_spellings(self, text: str, label: str | None) -> None:
        assert normalise_label(text) == label

    @pytest.mark.parametrize("label", ARCHITECTURES)
    def test_our_own_labels_map_to_themselves(self, label: str) -> None:
        assert normalise_label(label) == label
        assert compatible(label, label)

    def test_families_share_the_architecture_of_sdxl(self) -> None:
        assert {architecture_of(family) for family in SDXL_FAMILIES} == {"SDXL"}
        assert architecture_of("of my own") == "of my own"

    @pytest.mark.parametrize(
        ("a", "b", "fits"),
        [("Pony", "SDXL", True), ("Pony", "NoobAI", True), ("SDXL", "SD 1.5", False),
         ("Flux.1 or Chroma", "Chroma", True), ("Flux.1", "Chroma", False),
         ("Wan", "Wan 2.2 5B", True), ("Wan 14B", "Wan 2.2 5B", False)],
    )  # fmt: skip
    def test_compatible_is_mutual(self, a: str, b: str, fits: bool) -> None:
        assert compatible(a, b) is fits
        assert compatible(b, a) is fits
