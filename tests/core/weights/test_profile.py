"""Profiles against singular values of whole matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_manager_core.weights.profile import Profile
from lora_manager_core.weights.sketch import sketch_file

BLOCKS = {
    "lora_te_text_model_encoder_layers_0_mlp_fc1": "text",
    "lora_unet_down_blocks_0_attentions_0_proj_in": "in",
    "lora_unet_mid_block_attentions_0_proj_in": "mid",
    "lora_unet_up_blocks_1_attentions_0_proj_in": "out",
}


def profile_of(folder: Path, factors: dict[str, tuple[np.ndarray, np.ndarray]]) -> Profile:
    tensors = {}
    for module, (up, down) in factors.items():
        tensors[f"{module}.lora_up.weight"] = np.ascontiguousarray(up, np.float32)
        tensors[f"{module}.lora_down.weight"] = np.ascontiguousarray(down, np.float32)
    save_file(tensors, folder / "a.safetensors")
    return sketch_file(folder / "a.safetensors").profile


def of_values(values: list[float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors 50 × r and r × 40 of a matrix with these singular values."""
    random = np.random.default_rng(seed)
    rank = len(values)
    left = np.linalg.qr(random.standard_normal((50, rank)))[0]
    right = np.linalg.qr(random.standard_normal((40, rank)))[0].T
    turn = random.standard_normal((rank, rank)) + 3 * np.eye(rank)
    return left * values @ turn, np.linalg.inv(turn) @ right


class TestBlocks:
    def test_have_their_norms_and_shares(self, tmp_path: Path) -> None:
        random = np.random.default_rng(1)
        factors = {
            module: (random.standard_normal((50, 4)) * scale, random.standard_normal((4, 40)))
            for scale, module in enumerate(BLOCKS, start=1)
        }

        profile = profile_of(tmp_path, factors)

        norms = {BLOCKS[m]: np.linalg.norm(up @ down) for m, (up, down) in factors.items()}
        total = np.sqrt(sum(norm**2 for norm in norms.values()))
        assert profile.norm == pytest.approx(total, rel=1e-5)
        assert profile.modules == 4
        for group, norm in norms.items():
            assert profile.blocks[group].norm == pytest.approx(norm, rel=1e-5)
            assert profile.blocks[group].share == pytest.approx(norm**2 / total**2, rel=1e-5)
            assert profile.blocks[group].modules == 1


class TestSpectrum:
    def test_is_that_of_the_whole_matrix(self, tmp_path: Path) -> None:
        values = [5.0, 3.0, 2.0, 1.0, 0.5, 0.1]
        profile = profile_of(tmp_path, {"lora_unet_conv_in": of_values(values, 1)})

        shares = np.square(values) / np.square(values).sum()
        assert profile.spectrum == pytest.approx(shares.tolist(), abs=1e-5)
        assert profile.effective_rank == pytest.approx(
            np.exp(-(shares * np.log(shares)).sum()), rel=1e-3
        )
        assert profile.rank == 6
        assert profile.r95 == 3  # 25 + 9 + 4 of 39.26 are 97 %, without the 4 they are 87 %

    def test_of_two_modules_is_the_mean_weighted_by_energy(self, tmp_path: Path) -> None:
        profile = profile_of(
            tmp_path,
            {
                "lora_unet_conv_in": of_values([2.0, 0.0, 0.0, 0.0], 1),
                "lora_unet_conv_out": of_values([1.0, 1.0, 1.0, 1.0], 2),
            },
        )
        assert profile.r95 == pytest.approx((4 * 1 + 4 * 4) / 8, rel=1e-4)
        assert profile.spectrum == pytest.approx([0.625, 0.125, 0.125, 0.125], abs=1e-4)

    def test_proposes_a_rank_that_would_do(self, tmp_path: Path) -> None:
        thin = {"lora_unet_conv_in": of_values([3.0, 2.0, 1.5] + [1e-3] * 13, 1)}
        assert profile_of(tmp_path, thin).resize_to == 4

    def test_proposes_none_where_the_rank_is_used(self, tmp_path: Path) -> None:
        used = {"lora_unet_conv_in": of_values([1.0] * 16, 1)}
        assert profile_of(tmp_path, used).resize_to is None

    def test_of_many_modules_is_of_the_strongest(self, tmp_path: Path) -> None:
        """At rank 128 there are eight of them; the two weak ones have another spectrum."""
        random = np.random.default_rng(1)
        factors = {}
        for number in range(10):
            strong = number not in (3, 7)
            up, down = random.standard_normal((130, 128)), random.standard_normal((128, 130))
            up[:, 1:] *= strong
            factors[f"lora_unet_somewhere_{number}_x"] = (up, down)

        profile = profile_of(tmp_path, factors)

        assert profile.effective_rank > 30
        without = {m: f for m, f in factors.items() if m[-3] not in "37"}
        assert profile.effective_rank == pytest.approx(profile_of(tmp_path, without).effective_rank)
