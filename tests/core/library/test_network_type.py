"""What kind of network a list of tensors is."""

from __future__ import annotations

from typing import Any

import pytest

from lora_manager_core.library.key_names import split_key
from lora_manager_core.library.network_type import Network, describe_network

MODULE = "lora_unet_down_blocks_1_attentions_0_proj_in"


def described(**shapes: list[int]) -> Network:
    """Tensors of MODULE; `__` in a name is a dot."""
    return describe(
        {f"{MODULE}.{part.replace('__', '.')}": shape for part, shape in shapes.items()}
    )


def describe(shapes: dict[str, list[int]]) -> Network:
    tensors: dict[str, dict[str, Any]] = {key: {"shape": shape} for key, shape in shapes.items()}
    return describe_network(tensors)


class TestNetworkType:
    @pytest.mark.parametrize(
        ("shapes", "kind", "rank"),
        [
            pytest.param(
                {"lora_down.weight": [8, 320], "lora_up.weight": [320, 8]}, "lora", 8, id="kohya"
            ),
            pytest.param(
                {"lora_A.default.weight": [8, 320], "lora_B.default.weight": [320, 8]},
                "lora", 8, id="PEFT with the name of the adapter",
            ),
            pytest.param(
                {"lora.down.weight": [4, 320], "lora.up.weight": [320, 4]},
                "lora", 4, id="diffusers",
            ),
            pytest.param(
                {"lora_linear_layer.down.weight": [4, 320]}, "lora", 4, id="diffusers linear layer"
            ),
            pytest.param(
                {"lora_down.weight": [8, 320, 1, 1], "lora_up.weight": [320, 8, 1, 1]},
                "lora", 8, id="1x1 convolutions are still lora",
            ),
            pytest.param({"lora_down.weight": [8, 320, 3, 3]}, "locon", 8, id="3x3 convolution"),
            pytest.param(
                {"lora_down.weight": [8, 320, 1, 1], "lora_mid.weight": [8, 8, 3, 3]},
                "locon", 8, id="Tucker",
            ),
            pytest.param(
                {"lora_down.weight": [8, 320], "dora_scale": [320, 1]}, "dora", 8, id="dora_scale"
            ),
            pytest.param(
                {"lora_A.weight": [8, 320], "lora_magnitude_vector.weight": [320]},
                "dora", 8, id="PEFT magnitude",
            ),
            pytest.param(
                {"hada_w1_a": [320, 4], "hada_w1_b": [4, 320], "hada_w2_a": [320, 4]},
                "loha", 4, id="loha",
            ),
            pytest.param(
                {"lokr_w1": [8, 8], "lokr_w2_a": [40, 6], "lokr_w2_b": [6, 40]},
                "lokr", 6, id="lokr",
            ),
            pytest.param(
                {"lokr_w1": [8, 8], "lokr_w2": [40, 40]}, "lokr", None, id="full lokr has no rank"
            ),
            pytest.param({"oft_blocks": [8, 40, 40]}, "oft", None, id="oft: blocks are no rank"),
            pytest.param({"oft_blocks": [3, 8, 40, 40]}, "boft", None, id="boft"),
            pytest.param({"oft_diag": [8, 40, 40]}, "oft", None, id="diagonal oft"),
            pytest.param({"weight": [320], "on_input": [1]}, "ia3", None, id="ia3"),
            pytest.param({"a1.weight": [4, 320], "b2.weight": [4, 320]}, "glora", 4, id="glora"),
            pytest.param({"w_norm": [320], "b_norm": [320]}, "norm", None, id="norm"),
            pytest.param({"diff": [320, 320], "diff_b": [320]}, "full", None, id="full"),
            pytest.param({"weight": [320, 320]}, None, None, id="a bare weight proves nothing"),
            pytest.param({}, None, None, id="nothing"),
        ],
    )  # fmt: skip
    def test_is_told_by_the_parts(self, shapes, kind: str | None, rank: int | None) -> None:
        network = describe({f"{MODULE}.{part}": shape for part, shape in shapes.items()})
        assert (network.network_type, network.rank) == (kind, rank)

    def test_a_preset_with_norms_beside_is_named_after_its_low_rank_part(self) -> None:
        network = describe({"m.lora_down.weight": [8, 320], "n.w_norm": [320]})
        assert network.network_type == "lora"

    def test_names_embeddings_and_control_adapters(self) -> None:
        assert describe({"bundle_emb.trigger.string_to_param.*": [4, 768]}).embedding
        assert describe({"lora_controlnet_down_blocks_0.lora_down.weight": [8, 320]}).control


class TestRanks:
    def test_mode_and_range(self) -> None:
        ranks = (16, 16, 4, 32)
        network = describe({f"m{n}.lora_down.weight": [r, 320] for n, r in enumerate(ranks)})
        assert (network.rank, network.rank_min, network.rank_max) == (16, 4, 32)

    def test_one_alpha_tensor_per_rank(self) -> None:
        network = describe(
            {
                "a.alpha": [], "a.lora_down.weight": [16, 320],
                "b.lora_down.weight": [4, 320], "b.alpha": [],
                "c.alpha": [], "c.lora_down.weight": [4, 320],
            }
        )  # fmt: skip
        assert network.alpha_keys == {16: "a.alpha", 4: "b.alpha"}


class TestWidths:
    def test_of_a_kronecker_product_are_multiplied(self) -> None:
        network = described(lokr_w1=[8, 4], lokr_w2_a=[40, 6], lokr_w2_b=[6, 80])
        (inputs,) = network.layout.inputs.values()
        (outputs,) = network.layout.outputs.values()
        assert (inputs, outputs) == ({320}, {320})

    def test_of_a_loha_with_tucker_core_are_turned(self) -> None:
        network = described(hada_w1_a=[4, 640], hada_w1_b=[4, 320], hada_t1=[4, 4, 3, 3])
        assert list(network.layout.outputs.values()) == [{640}]
        assert list(network.layout.inputs.values()) == [{320}]


class TestTextEncoders:
    @pytest.mark.parametrize(
        ("key", "encoder"),
        [
            ("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", "CLIP-L"),
            ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "CLIP-L"),
            ("lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha", "CLIP-G"),
            ("lora_te2_encoder_block_0_layer_0_SelfAttention_q.alpha", "T5"),
            ("lora_te3_encoder_block_0_layer_0_SelfAttention_q.alpha", "T5"),
            ("text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "CLIP-L"),
            ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "CLIP-G"),
            ("clip_l.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "CLIP-L"),
            ("clip_g.transformer.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "CLIP-G"),
            ("t5xxl.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight", "T5"),
            ("lora_te_layers_0_self_attn_q_proj.alpha", "LLM"),
            ("diffusion_model.llm_adapter.blocks.0.q.lora_A.weight", "LLM"),
            ("lora_unet_down_blocks_0_attentions_0_proj_in.alpha", None),
        ],
    )
    def test_are_told_by_the_beginning_of_a_name(self, key: str, encoder: str | None) -> None:
        assert split_key(key).encoder == encoder


class TestSplitKey:
    @pytest.mark.parametrize(
        ("key", "part", "pattern", "block"),
        [
            ("lora_unet_double_blocks_7_img_mlp_2.lora_up.weight", "up",
             "double_blocks_N_img_mlp_N", 7),
            ("base_model.model.transformer_blocks.3.attn.to_k.lora_A.weight", "down",
             "transformer_blocks_N_attn_to_k", 3),
            ("transformer.transformer_blocks.3.attn.to_k.lora_A.default_0.weight", "down",
             "transformer_blocks_N_attn_to_k", 3),
            ("double_blocks.0.processor.qkv_lora1.down.weight", "down",
             "double_blocks_N_processor_qkv1", 0),
            ("unet.mid_block.attentions.0.attn2.processor.to_q_lora.up.weight", "up",
             "mid_block_attentions_N_attn2_processor_to_q", 0),
            ("model.diffusion_model.blocks.12.ffn.0.lora_B.bias", "other",
             "blocks_N_ffn_N_lora_B_bias", 12),
        ],
        ids=["kohya", "PEFT", "PEFT with a name", "XLabs", "attention processor", "bias"],
    )  # fmt: skip
    def test_understands_every_spelling(self, key, part, pattern, block) -> None:
        name = split_key(key)
        assert (name.part, name.pattern, name.block) == (part, pattern, block)

    @pytest.mark.parametrize("key", ["", ".", "..", "weight", ".weight", "_", "lora_A", "²_3"])
    def test_takes_any_name(self, key: str) -> None:
        assert split_key(key).part in {"other", "weight", "down"}
