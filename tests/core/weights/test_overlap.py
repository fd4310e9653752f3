"""Pairs of files against the same from whole matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lora_manager_core.weights.overlap import compare_files
from lora_manager_core.weights.problems import WeightsUnreadable
from lora_manager_core.weights.sketch import sketch_file
from tests.fakes.adapter_files import FORMS, AdapterFile

PLACES = (
    ("lora_unet_down_blocks_0_attentions_0_proj_in", "down_blocks_0_attentions_0_proj_in"),
    ("lora_unet_input_blocks_8_1_proj_in", "down_blocks_2_attentions_1_proj_in"),
    ("lora_te_text_model_encoder_layers_0_mlp_fc1", "CLIP-L.encoder_layers_0_mlp_fc1"),
)
FLAT = [form for form in FORMS if not any(w in form for w in ("locon", "core", "convolution"))]


def file_of(forms: list[str | None], seed: int) -> AdapterFile:
    file, random = AdapterFile(), np.random.default_rng(seed)
    for (module, name), form in zip(PLACES, forms, strict=True):
        if form is not None:
            file.add(module, name, form, random)
    return file


def inside(one: NDArray[np.float64], two: NDArray[np.float64], low_rank: bool) -> float:
    """Energy of `two` in the columns of `one` beyond chance, from singular vectors."""
    if not low_rank:
        return 0.0
    left, values, _ = np.linalg.svd(one, full_matrices=False)
    basis = left[:, values > 1e-5 * values[0]]
    return float(((basis.T @ two) ** 2).sum() - basis.shape[1] / len(one) * (two**2).sum())


class TestCompareFiles:
    @settings(
        max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
    )
    @given(
        forms=st.lists(st.sampled_from([None, *FLAT]), min_size=3, max_size=3).filter(any),
        others=st.lists(st.sampled_from([None, *FLAT]), min_size=3, max_size=3).filter(any),
        seed=st.integers(0, 2**32 - 2),
    )
    def test_is_what_whole_matrices_give(
        self, tmp_path: Path, forms: list[str | None], others: list[str | None], seed: int
    ) -> None:
        one, two = file_of(forms, seed), file_of(others, seed + 1)

        made = compare_files(
            one.write(tmp_path / "a.safetensors"), two.write(tmp_path / "b.safetensors")
        )

        shared = one.changes.keys() & two.changes.keys()
        product = sum((one.changes[n] * two.changes[n]).sum() for n in shared)
        energy = sum((c**2).sum() for c in one.changes.values())
        other = sum((c**2).sum() for c in two.changes.values())
        low = ("lora", "peft", "loha of rank 1")
        kinds = {name: (a, b) for (_, name), a, b in zip(PLACES, forms, others, strict=True)}
        of_two = sum(inside(one.changes[n], two.changes[n], kinds[n][0] in low) for n in shared)
        of_one = sum(inside(two.changes[n], one.changes[n], kinds[n][1] in low) for n in shared)
        assert made.whole.shared == len(shared)
        assert made.whole.norm == pytest.approx(np.sqrt(energy), rel=1e-4)
        assert made.whole.other_norm == pytest.approx(np.sqrt(other), rel=1e-4)
        assert made.whole.cosine == pytest.approx(product / np.sqrt(energy * other), abs=1e-5)
        assert made.whole.overlap == pytest.approx((of_one / energy + of_two / other) / 2, abs=1e-4)

    def test_of_a_file_with_itself_is_one(self, tmp_path: Path) -> None:
        path = file_of(["lora", None, "lora"], 1).write(tmp_path / "a.safetensors")
        made = compare_files(path, path)
        assert made.whole.cosine == pytest.approx(1, abs=1e-6)
        assert made.whole.overlap == pytest.approx(1 - 2 / 12, abs=1e-5)
        assert made.blocks.keys() == {"in", "text"}
        assert made.blocks["text"].cosine == pytest.approx(1, abs=1e-6)

    def test_of_modules_of_other_widths_is_nothing_shared(self, tmp_path: Path) -> None:
        one = file_of(["lora", None, None], 1).write(tmp_path / "a.safetensors")
        two = file_of(["locon", None, None], 2).write(tmp_path / "b.safetensors")
        made = compare_files(one, two)
        assert (made.whole.shared, made.whole.cosine, made.whole.overlap) == (0, 0.0, 0.0)
        assert made.whole.other_norm > 0

    def test_of_zeros_is_nothing(self, tmp_path: Path) -> None:
        file = file_of(["lora", None, None], 1)
        other = file.write(tmp_path / "b.safetensors")
        file.tensors = {key: tensor * 0 for key, tensor in file.tensors.items()}
        made = compare_files(file.write(tmp_path / "a.safetensors"), other)
        assert (made.whole.cosine, made.whole.overlap, made.whole.norm) == (0.0, 0.0, 0.0)

    def test_of_fused_and_split_modules_meets_them(self, tmp_path: Path) -> None:
        random = np.random.default_rng(1)
        up, down = random.standard_normal((30, 2)), random.standard_normal((2, 10))
        fused, split = AdapterFile(), AdapterFile()
        module = "lora_unet_double_blocks_3_img_attn_qkv"
        fused.tensors = {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down}
        for part, name in enumerate("qkv"):
            module = f"transformer.transformer_blocks.3.attn.to_{name}"
            split.tensors[f"{module}.lora_A.weight"] = down
            split.tensors[f"{module}.lora_B.weight"] = up[10 * part : 10 * part + 10]
        one, two = fused.write(tmp_path / "a.safetensors"), split.write(tmp_path / "b.safetensors")
        for first, second in ((one, two), (two, one)):
            made = compare_files(first, second)
            assert made.whole.shared == 3
            assert made.whole.cosine == pytest.approx(1, abs=1e-6)

    def test_of_a_fused_module_of_odd_widths_meets_its_like(self, tmp_path: Path) -> None:
        random = np.random.default_rng(1)
        up, down = random.standard_normal((13, 2)), random.standard_normal((2, 10))
        paths = []
        for module in ("lora_unet_double_blocks_3_img_attn_qkv",
                       "diffusion_model.double_blocks.3.img_attn.qkv"):  # fmt: skip
            file = AdapterFile({f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down})
            paths.append(file.write(tmp_path / f"{len(paths)}.safetensors"))
        made = compare_files(*paths)
        assert made.whole.shared == 1
        assert made.whole.cosine == pytest.approx(1, abs=1e-6)

    def test_of_factors_that_cancel_each_other_is_exact(self, tmp_path: Path) -> None:
        random = np.random.default_rng(1)
        up, down = random.standard_normal((60, 4)), random.standard_normal((4, 50))
        turn = np.diag([1e4, 1.0, 1.0, 1e-3]) @ np.linalg.qr(random.standard_normal((4, 4)))[0]
        plain, turned = AdapterFile(), AdapterFile()
        for file, (a, b) in (
            (plain, (up, down)),
            (turned, (up @ np.linalg.inv(turn), turn @ down)),
        ):
            file.tensors = {"lora_unet_conv_in.lora_up.weight": a,
                            "lora_unet_conv_in.lora_down.weight": b}  # fmt: skip
        one, two = plain.write(tmp_path / "a.safetensors"), turned.write(tmp_path / "b.safetensors")

        for made in (compare_files(one, two), compare_files(two, one), compare_files(two, two)):
            assert made.whole.cosine == pytest.approx(1, abs=1e-4)
            assert made.whole.norm == pytest.approx(np.linalg.norm(up @ down), rel=1e-4)
            assert made.whole.overlap == pytest.approx(1 - 4 / 60, abs=1e-3)
        assert sketch_file(two).norm == pytest.approx(np.linalg.norm(up @ down), rel=1e-4)

    def test_of_numbers_that_overflow_says_so(self, tmp_path: Path) -> None:
        for up, down in ((1e30, 1e30), (1e30, 1e-30)):
            file = file_of(["lora", None, None], 1)
            for key, factor in (("lora_up.weight", up), ("lora_down.weight", down)):
                file.tensors[f"{PLACES[0][0]}.{key}"] *= np.float32(factor)
            path = file.write(tmp_path / "a.safetensors")
            with pytest.raises(WeightsUnreadable, match="too large"):
                compare_files(path, path)
            with pytest.raises(WeightsUnreadable, match="too large"):
                sketch_file(path)

    def test_of_a_file_that_cannot_be_read_says_why(self, tmp_path: Path) -> None:
        path = file_of(["lora", None, None], 1).write(tmp_path / "a.safetensors")
        with pytest.raises(WeightsUnreadable, match="cannot be read"):
            compare_files(path, tmp_path / "gone.safetensors")
