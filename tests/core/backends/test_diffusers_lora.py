"""Layer names of models too large for a test: their structure without weights (`meta` device)."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.backends.diffusers_lora import (
    LoraRefused,
    applied,
    layer_names,
    peft_tensors,
)
from lora_manager_core.backends.lora_layer_names import LayerNames
from lora_manager_core.backends.lora_wanted import WantedLora

pytestmark = pytest.mark.embedded

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
safetensors_torch = pytest.importorskip("safetensors.torch")

ATTENTION = [
    "attn1_to_q", "attn1_to_k", "attn1_to_v", "attn1_to_out_0",
    "attn2_to_q", "attn2_to_k", "attn2_to_v", "attn2_to_out_0", "ff_net_0_proj", "ff_net_2",
]  # fmt: skip
RESNET = ["in_layers_2", "emb_layers_1", "out_layers_3"]


@pytest.fixture(scope="module")
def sdxl() -> list[str]:
    """The names of SDXL's linear and convolution layers."""
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=[5, 10, 20],
            cross_attention_dim=2048,
            transformer_layers_per_block=[1, 2, 10],
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
            use_linear_projection=True,
        )
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return [name for name, module in unet.named_modules() if isinstance(module, kinds)]


def original_sdxl_layers() -> Iterator[str]:
    """SDXL's layers as sd-scripts names them, after the original UNet."""
    depths = {"input_blocks_4": 2, "input_blocks_5": 2, "input_blocks_7": 10, "input_blocks_8": 10}
    depths |= {f"output_blocks_{n}": 10 for n in range(3)}
    depths |= {f"output_blocks_{n}": 2 for n in range(3, 6)}
    places = {f"{block}_1": depth for block, depth in depths.items()} | {"middle_block_1": 10}
    for place, depth in places.items():
        yield from (f"{place}_proj_in", f"{place}_proj_out")
        for number, layer in itertools.product(range(depth), ATTENTION):
            yield f"{place}_transformer_blocks_{number}_{layer}"
    resnets = [f"input_blocks_{n}_0" for n in (1, 2, 4, 5, 7, 8)]
    resnets += [f"output_blocks_{n}_0" for n in range(9)] + ["middle_block_0", "middle_block_2"]
    yield from (f"{place}_{layer}" for place, layer in itertools.product(resnets, RESNET))
    skips = ["input_blocks_4_0", "input_blocks_7_0", *(f"output_blocks_{n}_0" for n in range(9))]
    yield from (f"{place}_skip_connection" for place in skips)
    yield from ("input_blocks_3_0_op", "input_blocks_6_0_op")
    yield from ("output_blocks_2_2_conv", "output_blocks_5_2_conv")
    yield from ("time_embed_0", "time_embed_2", "label_emb_0_0", "label_emb_0_2")
    yield from ("input_blocks_0_0", "out_2")


class TestSdxl:
    def test_each_layer_of_the_original_unet_is_exactly_one_of_ours(self, sdxl: list[str]):
        names = LayerNames({"unet": sdxl}, "unet")
        found = [
            names.find(f"lora_unet_{name}.lora_down.weight") for name in original_sdxl_layers()
        ]
        assert None not in found
        layers = [part.layer for part in found if part is not None]
        assert len(set(layers)) == len(layers)
        assert set(layers) == set(sdxl)

    def test_a_few_by_name(self, sdxl: list[str]):
        names = LayerNames({"unet": sdxl}, "unet")
        for original, ours in {
            "input_blocks_8_1_proj_in": "down_blocks.2.attentions.1.proj_in",
            "output_blocks_4_0_in_layers_2": "up_blocks.1.resnets.1.conv1",
            "middle_block_2_out_layers_3": "mid_block.resnets.1.conv2",
            "output_blocks_5_2_conv": "up_blocks.1.upsamplers.0.conv",
        }.items():
            found = names.find(f"lora_unet_{original}.alpha")
            assert found is not None
            assert (found.layer, found.part) == (ours, "alpha")


class TestTextEncoders:
    def test_numbers_and_the_level_some_have_and_some_lost(self):
        names = LayerNames(
            {
                "unet": ["conv_in"],
                "text_encoder": ["encoder.layers.0.mlp.fc1"],
                "text_encoder_2": ["text_model.encoder.layers.0.mlp.fc1", "text_projection"],
            },
            "unet",
        )
        for key, component in {
            "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": "text_encoder",
            "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha": "text_encoder",
            "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha": "text_encoder_2",
            "lora_te2_text_projection.alpha": "text_encoder_2",
            "text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight": "text_encoder_2",
            "base_model.model.conv_in.lora_A.default.weight": "unet",
        }.items():
            found = names.find(key)
            assert found is not None
            assert found.component == component


class FluxLike:
    """As much of a Flux pipeline as tells its layers and converts names."""

    _lora_loadable_modules = ("transformer",)

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def lora_state_dict(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return diffusers.FluxPipeline.lora_state_dict(tensors)


@pytest.fixture(scope="module")
def flux() -> FluxLike:
    with torch.device("meta"):
        return FluxLike(diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=1))


class TestFlux:
    """One double and one single block of FLUX.1, keys from real files' lists of names."""

    @pytest.fixture
    def kohya_file(self, tmp_path: Path) -> Path:
        sizes = {
            "double_blocks_0_img_attn_qkv": (9216, 3072),
            "double_blocks_0_txt_attn_qkv": (9216, 3072),
            "double_blocks_0_img_attn_proj": (3072, 3072),
            "double_blocks_0_img_mlp_0": (12288, 3072),
            "single_blocks_0_linear1": (21504, 3072),
            "single_blocks_0_linear2": (3072, 15360),
        }
        tensors = {}
        for name, (out, into) in sizes.items():
            tensors[f"lora_unet_{name}.lora_down.weight"] = torch.ones(2, into)
            tensors[f"lora_unet_{name}.lora_up.weight"] = torch.ones(out, 2)
            tensors[f"lora_unet_{name}.alpha"] = torch.tensor(1.0)
        file = tmp_path / "flux.safetensors"
        safetensors_torch.save_file(tensors, file)
        return file

    def test_kohyas_fused_layers_are_cut_up(self, flux: FluxLike, kohya_file: Path):
        tensors = peft_tensors(kohya_file, flux, layer_names(flux))
        layers = {key.rsplit(".", 2)[0] for key in tensors}
        block = "transformer.transformer_blocks.0"
        assert {f"{block}.attn.to_q", f"{block}.attn.add_k_proj", f"{block}.ff.net.0.proj"} < layers
        assert "transformer.single_transformer_blocks.0.proj_mlp" in layers
        weight = f"{block}.attn.to_out.0"
        change = tensors[f"{weight}.lora_B.weight"] @ tensors[f"{weight}.lora_A.weight"]
        assert change[0, 0].item() == pytest.approx(1.0)  # rank 2 of ones, at alpha/rank = 1/2

    def test_a_lora_for_sd_is_refused(self, flux: FluxLike, tmp_path: Path):
        file = tmp_path / "sd.safetensors"
        layer = "lora_unet_down_blocks_0_attentions_0_proj_in"
        pair = {"down": torch.ones(2, 320), "up": torch.ones(320, 2)}
        safetensors_torch.save_file(
            {f"{layer}.lora_{part}.weight": value for part, value in pair.items()}, file
        )
        with pytest.raises(LoraRefused):
            peft_tensors(file, flux, layer_names(flux))


class OneConvolution:
    """A pipeline whose denoiser is one 3x3 convolution."""

    _lora_loadable_modules = ("unet",)

    def __init__(self) -> None:
        self.unet = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3))


class TestConvolution:
    def test_the_tucker_form_becomes_a_plain_pair(self, tmp_path: Path):
        down, mid, up = torch.randn(2, 3, 1, 1), torch.randn(2, 2, 3, 3), torch.randn(5, 2, 1, 1)
        file = tmp_path / "cp.safetensors"
        parts = {"down": down, "mid": mid, "up": up}
        safetensors_torch.save_file(
            {f"lora_unet_0.lora_{part}.weight": value for part, value in parts.items()}, file
        )
        pipeline = OneConvolution()
        tensors = peft_tensors(file, pipeline, layer_names(pipeline))
        image = torch.randn(1, 3, 8, 8)
        convolve = torch.nn.functional.conv2d
        expected = convolve(convolve(convolve(image, down), mid), up)
        pair = [tensors[f"unet.0.lora_{side}.weight"] for side in "AB"]
        assert torch.allclose(convolve(convolve(image, pair[0]), pair[1]), expected, atol=1e-5)

    def test_rank_stabilised_scale(self, tmp_path: Path):
        file = tmp_path / "rs.safetensors"
        config = json.dumps({"unet.lora_alpha": 6, "unet.use_rslora": True})
        tensors = {
            "unet.0.lora_A.weight": torch.ones(4, 3, 3, 3),
            "unet.0.lora_B.weight": torch.ones(5, 4, 1, 1),
        }
        safetensors_torch.save_file(tensors, file, {"lora_adapter_metadata": config})
        pipeline = OneConvolution()
        read = peft_tensors(file, pipeline, layer_names(pipeline))
        assert read["unet.0.lora_B.weight"].unique().tolist() == [3.0]


class Stubborn(OneConvolution):
    """A pipeline whose loader fails for one adapter after having registered it."""

    def __init__(self) -> None:
        super().__init__()
        self.adapters: dict[str, float] = {}
        self.strengths: dict[str, Any] = {}

    def load_lora_weights(self, tensors: dict[str, Any], adapter_name: str) -> None:
        value = tensors["unet.0.lora_A.weight"].flatten()[0].item()
        self.adapters[adapter_name] = value
        if value == 2.0:
            raise IndexError("list index out of range")

    def set_adapters(self, names: list[str], strengths: list[dict[str, float]]) -> None:
        self.strengths = dict(zip(names, strengths, strict=True))

    def unload_lora_weights(self) -> None:
        self.adapters.clear()


def test_a_file_the_loader_trips_over_leaves_nothing_and_the_others_apply(tmp_path: Path):
    wanted = []
    for value in (1.0, 2.0, 3.0):
        file = tmp_path / f"f{value:g}.safetensors"
        tensors = {
            "unet.0.lora_A.weight": torch.full((1, 3, 3, 3), value),
            "unet.0.lora_B.weight": torch.ones(5, 1, 1, 1),
        }
        safetensors_torch.save_file(tensors, file)
        wanted.append(WantedLora(file.stem, file, value, value, value, value))
    pipeline = Stubborn()
    with applied(pipeline, wanted) as (loras, warnings):
        assert [lora.name for lora in loras] == ["f1", "f3"]
        assert sorted(pipeline.adapters.values()) == [1.0, 3.0]
        assert [strength["unet"] for strength in pipeline.strengths.values()] == [1.0, 3.0]
        assert len(warnings) == 1
        assert "f2.safetensors" in warnings[0]
        assert "IndexError" in warnings[0]
    assert pipeline.adapters == {}
