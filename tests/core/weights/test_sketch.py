"""Sketches against the same computed from whole matrices, and against each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from lora_manager_core.weights.problems import WeightsUnreadable
from lora_manager_core.weights.signs import left_signs, module_signs, right_signs
from lora_manager_core.weights.sketch import sketch_file
from lora_manager_core.weights.tensors import TensorFile
from tests.fakes.adapter_files import FORMS, AdapterFile

MODULE = "lora_unet_down_blocks_0_attentions_0_proj_in"
NAME = "down_blocks_0_attentions_0_proj_in"


def plain_sketch(changes: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The definition, from whole matrices."""
    total = np.zeros((64, 64))
    for name, change in changes.items():
        outputs, inputs = change.shape
        projected = left_signs(outputs).astype(float) @ change @ right_signs(inputs)
        total += module_signs(name) * projected
    return total / np.linalg.norm(total)


def length(changes: Mapping[str, NDArray[np.float64]]) -> float:
    return float(np.sqrt(sum((change**2).sum() for change in changes.values())))


def lora(up: NDArray[np.float32], down: NDArray[np.float32], module: str = MODULE) -> dict:
    return {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down}


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def saved(path: Path, tensors: dict, metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors, path, metadata)
    return path


def reason(path: Path) -> str:
    with pytest.raises(WeightsUnreadable) as caught:
        sketch_file(path)
    return caught.value.reason


class TestForms:
    @pytest.mark.parametrize("form", list(FORMS))
    @settings(
        max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
    )
    @given(seed=st.integers(0, 2**32 - 1))
    def test_are_what_their_whole_matrix_gives(self, tmp_path: Path, form: str, seed: int) -> None:
        file = AdapterFile()
        file.add(MODULE, NAME, form, np.random.default_rng(seed))

        made = sketch_file(file.write(tmp_path / "a.safetensors"))

        assert np.allclose(made.sketch, plain_sketch(file.changes), atol=2e-5)
        assert made.norm == pytest.approx(length(file.changes), rel=1e-4)
        assert not made.approximate

    @settings(
        max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
    )
    @given(
        forms=st.lists(st.sampled_from(list(FORMS)), min_size=2, max_size=5),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_add_up_in_one_file(self, tmp_path: Path, forms: list[str], seed: int) -> None:
        file, random = AdapterFile(), np.random.default_rng(seed)
        for number, form in enumerate(forms):
            file.add(f"lora_unet_up_blocks_{number}_somewhere", f"up_blocks_{number}_somewhere",
                     form, random)  # fmt: skip

        made = sketch_file(file.write(tmp_path / "a.safetensors"))

        assert np.allclose(made.sketch, plain_sketch(file.changes), atol=2e-5)
        assert made.norm == pytest.approx(length(file.changes), rel=1e-4)
        assert made.profile.modules == len(forms)

    def test_a_dora_is_compared_by_its_low_rank_part_and_marked(self, tmp_path: Path) -> None:
        tensors = lora(normal(1, 12, 2), normal(2, 2, 10))
        plain = sketch_file(saved(tmp_path / "a.safetensors", tensors))

        tensors[f"{MODULE}.dora_scale"] = normal(3, 12, 1)
        made = sketch_file(saved(tmp_path / "b.safetensors", tensors))

        assert made.approximate
        assert np.array_equal(made.sketch, plain.sketch)

    @pytest.mark.parametrize(
        ("part", "kind"),
        [("oft_blocks", "OFT"), ("oft_diag", "OFT"), ("boft_R", "BOFT"), ("on_input", "(IA)³"),
         ("a1.weight", "GLoRA")],
    )  # fmt: skip
    def test_what_needs_the_base_model_is_refused(
        self, tmp_path: Path, part: str, kind: str
    ) -> None:
        path = saved(tmp_path / "a.safetensors", {f"{MODULE}.{part}": normal(1, 4, 4, 4)})
        assert f"kind {kind}:" in reason(path)


class TestSameChange:
    def test_in_other_factors_has_the_same_sketch(self, tmp_path: Path) -> None:
        up, down = normal(1, 40, 4), normal(2, 4, 30)
        turn = np.linalg.qr(normal(3, 4, 4))[0] @ np.diag([1, 2, 3, 4]).astype(np.float32)

        one = sketch_file(saved(tmp_path / "a.safetensors", lora(up, down)))
        other = sketch_file(
            saved(tmp_path / "b.safetensors", lora(up @ np.linalg.inv(turn), turn @ down))
        )

        assert np.allclose(one.sketch, other.sketch, atol=1e-5)

    def test_of_another_strength_has_the_same_sketch(self, tmp_path: Path) -> None:
        tensors = lora(normal(1, 40, 4), normal(2, 4, 30))
        one = sketch_file(saved(tmp_path / "a.safetensors", tensors))
        tensors[f"{MODULE}.alpha"] = np.array(12.0, np.float32)
        other = sketch_file(saved(tmp_path / "b.safetensors", tensors))

        assert np.allclose(one.sketch, other.sketch, atol=1e-6)
        assert other.norm == pytest.approx(3 * one.norm, rel=1e-5)

    def test_by_another_trainer_has_the_same_sketch(self, tmp_path: Path) -> None:
        up, down = normal(1, 40, 4), normal(2, 4, 30)
        one = sketch_file(
            saved(tmp_path / "a.safetensors", lora(up, down, "lora_unet_input_blocks_4_1_proj_in"))
        )
        dotted = "unet.down_blocks.1.attentions.0.proj_in"
        tensors = {f"{dotted}.lora_A.weight": down, f"{dotted}.lora_B.weight": up}
        other = sketch_file(saved(tmp_path / "b.safetensors", tensors))

        assert np.array_equal(one.sketch, other.sketch)

    def test_fused_or_split_has_the_same_sketch(self, tmp_path: Path) -> None:
        up, down = normal(1, 90, 4), normal(2, 4, 30)
        fused = lora(up, down, "lora_unet_double_blocks_3_img_attn_qkv")
        split = {}
        for part, name in enumerate("qkv"):
            module = f"transformer.transformer_blocks.3.attn.to_{name}"
            split[f"{module}.lora_A.weight"] = down
            split[f"{module}.lora_B.weight"] = np.ascontiguousarray(up[30 * part : 30 * part + 30])
        one = sketch_file(saved(tmp_path / "a.safetensors", fused))
        other = sketch_file(saved(tmp_path / "b.safetensors", split))

        assert np.allclose(one.sketch, other.sketch, atol=1e-6)
        assert one.norm == pytest.approx(other.norm, rel=1e-5)
        both = sketch_file(saved(tmp_path / "c.safetensors", {**fused, **split}))
        assert np.allclose(both.sketch, other.sketch, atol=1e-6)

    def test_written_twice_counts_once(self, tmp_path: Path) -> None:
        up, down = normal(1, 40, 4), normal(2, 4, 30)
        once = lora(up, down, "diffusion_model.layers.1.attention.to_out.0")
        twice = {**once, **lora(up, down, "diffusion_model.layers.1.attention.out")}
        one = sketch_file(saved(tmp_path / "a.safetensors", once))
        other = sketch_file(saved(tmp_path / "b.safetensors", twice))
        assert other.norm == pytest.approx(one.norm, rel=1e-6)
        assert other.profile.modules == 1

    def test_fused_with_a_kronecker_product_is_split_too(self, tmp_path: Path) -> None:
        outer, inner = normal(1, 9, 3), normal(2, 10, 10)
        module = "lora_unet_double_blocks_3_img_attn_qkv"
        tensors = {f"{module}.lokr_w1": outer, f"{module}.lokr_w2": inner}
        whole = np.kron(outer.astype(float), inner.astype(float))
        changes = {
            f"transformer_blocks_3_attn_to_{name}": whole[30 * part : 30 * part + 30]
            for part, name in enumerate("qkv")
        }
        made = sketch_file(saved(tmp_path / "a.safetensors", tensors))
        assert np.allclose(made.sketch, plain_sketch(changes), atol=2e-5)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
    def test_in_another_type_of_number_has_nearly_the_same_sketch(
        self, tmp_path: Path, dtype: str
    ) -> None:
        up, down = normal(1, 40, 4), normal(2, 4, 30)
        one = sketch_file(saved(tmp_path / "a.safetensors", lora(up, down)))
        other = tmp_path / "b.safetensors"
        if dtype == "bfloat16":
            write_raw(other, {key: ("BF16", tensor.shape, bfloat(tensor))
                              for key, tensor in lora(up, down).items()})  # fmt: skip
        else:
            saved(other, lora(up.astype(dtype), down.astype(dtype)))

        made = sketch_file(other).sketch

        assert float((made * one.sketch).sum()) > 0.9999


def bfloat(tensor: NDArray[np.float32]) -> bytes:
    return (tensor.view(np.uint32) >> 16).astype("<u2").tobytes()


def write_raw(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    """A safetensors file of tensors that numpy has no type for."""
    table, data = {}, b""
    for key, (dtype, shape, raw) in tensors.items():
        table[key] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    header = json.dumps(table).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


class TestNumbers:
    @pytest.mark.parametrize(
        ("dtype", "torch_dtype"), [("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2")]
    )
    def test_of_8_bits_are_those_of_torch(
        self, tmp_path: Path, dtype: str, torch_dtype: str
    ) -> None:
        torch = pytest.importorskip("torch")
        raw = np.arange(256, dtype=np.uint8)
        expected = torch.from_numpy(raw).view(getattr(torch, torch_dtype)).float().numpy()
        finite = raw[np.isfinite(expected)]
        path = tmp_path / "a.safetensors"
        write_raw(
            path, {"a": (dtype, finite.shape, finite.tobytes()), "b": (dtype, (256,), bytes(raw))}
        )

        with TensorFile(path) as file:
            assert np.array_equal(file.read("a"), expected[np.isfinite(expected)])
            with pytest.raises(WeightsUnreadable, match="not finite"):
                file.read("b")

    def test_of_16_bits_are_those_of_numpy(self, tmp_path: Path) -> None:
        halves = np.arange(65536, dtype=np.uint16).view(np.float16)
        halves = halves[np.isfinite(halves)]
        path = saved(tmp_path / "a.safetensors", {"a": halves})
        with TensorFile(path) as file:
            assert np.array_equal(file.read("a"), halves.astype(np.float32))


class TestEstimate:
    def test_two_files_are_as_alike_as_their_sketches_say(self, tmp_path: Path) -> None:
        """At cosine c the error of a sketch is about sqrt((1 + c²)) / 64: 0.02 here; 6 of it."""
        exact, seen = [], []
        for seed in range(8):
            up, down, other = (
                normal(seed, 80, 3),
                normal(seed + 50, 3, 70),
                normal(seed + 90, 80, 3),
            )
            mixed = (up + other * seed / 4).astype(np.float32)
            one = sketch_file(saved(tmp_path / "a.safetensors", lora(up, down)))
            two = sketch_file(saved(tmp_path / "b.safetensors", lora(mixed, down)))
            first, second = up @ down, mixed @ down
            exact.append((first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second))
            seen.append(float((one.sketch * two.sketch).sum()))
        assert np.abs(np.subtract(exact, seen)).max() < 0.12


class TestSigns:
    def test_are_the_same_on_every_machine(self) -> None:
        """What is stored was made with these; other ones need another METHOD."""
        assert left_signs(7)[:3, :5].astype(int).tolist() == [
            [1, -1, 1, -1, -1],
            [-1, 1, 1, -1, -1],
            [1, 1, 1, 1, -1],
        ]
        assert module_signs(NAME)[:2, :8].astype(int).tolist() == [
            [-1, -1, 1, 1, 1, -1, 1, 1],
            [1, 1, 1, 1, -1, -1, -1, 1],
        ]

    def test_are_independent(self) -> None:
        rows = np.concatenate([left_signs(1000), right_signs(1000).T])
        assert set(np.unique(rows)) == {-1.0, 1.0}
        alike = np.abs(rows @ rows.T / 1000 - np.eye(128)).max()
        assert alike < 0.2  # 6 standard deviations of the mean of 1000 signs


class TestProblems:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_values_that_are_not_finite(self, tmp_path: Path, value: float, dtype: str) -> None:
        down = normal(2, 4, 30).astype(dtype)
        down[1, 2] = value
        path = saved(tmp_path / "a.safetensors", lora(normal(1, 40, 4), down))
        assert "not finite" in reason(path)

    def test_a_file_of_zeros_has_no_direction(self, tmp_path: Path) -> None:
        zeros = np.zeros((40, 4), np.float32)
        made = sketch_file(saved(tmp_path / "a.safetensors", lora(zeros, normal(1, 4, 30))))
        assert made.norm == 0.0
        assert not made.sketch.any()
        assert made.profile.r95 is None

    def test_a_pickle_is_never_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(b"\x80\x04.")
        assert "may run code" in reason(path)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert "cannot be read" in reason(tmp_path / "gone.safetensors")

    def test_a_damaged_file(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.safetensors", lora(normal(1, 40, 4), normal(2, 4, 30)))
        path.write_bytes(path.read_bytes()[:-10])
        assert "cut off" in reason(path)

    def test_an_empty_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        path.write_bytes(b"")
        assert "empty" in reason(path)

    def test_a_file_without_changes(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.safetensors", {"model.something.weight": normal(1, 3, 3)})
        assert "no change" in reason(path)

    def test_half_a_module(self, tmp_path: Path) -> None:
        tensors = {f"{MODULE}.lora_down.weight": normal(1, 4, 30)}
        assert "lacks its tensor “up”" in reason(saved(tmp_path / "a.safetensors", tensors))

    def test_factors_that_do_not_fit(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.safetensors", lora(normal(1, 40, 5), normal(2, 4, 30)))
        assert "do not fit" in reason(path)

    def test_an_unknown_type_of_number(self, tmp_path: Path) -> None:
        tensors = lora(np.ones((40, 4), np.int32), normal(2, 4, 30))
        assert "of the type I32" in reason(saved(tmp_path / "a.safetensors", tensors))

    def test_numbers_that_overflow(self, tmp_path: Path) -> None:
        path = saved(
            tmp_path / "a.safetensors", lora(normal(1, 40, 4) * 1e30, normal(2, 4, 30) * 1e30)
        )
        assert "too large" in reason(path)


class TestScale:
    def test_without_alpha_is_that_of_the_metadata(self, tmp_path: Path) -> None:
        tensors = lora(normal(1, 40, 4), normal(2, 4, 30))
        plain = sketch_file(saved(tmp_path / "a.safetensors", tensors)).norm
        kohya = saved(tmp_path / "b.safetensors", tensors, {"ss_network_alpha": "2"})
        assert sketch_file(kohya).norm == pytest.approx(plain / 2, rel=1e-5)

    @pytest.mark.parametrize(("stable", "scale"), [(False, 2.0), (True, 4.0)])
    def test_of_peft_is_that_of_its_configuration(
        self, tmp_path: Path, stable: bool, scale: float
    ) -> None:
        module = "transformer.transformer_blocks.0.attn.to_q"
        tensors = {f"{module}.lora_A.weight": normal(1, 4, 30),
                   f"{module}.lora_B.weight": normal(2, 40, 4)}  # fmt: skip
        plain = sketch_file(saved(tmp_path / "a.safetensors", tensors)).norm
        config = {"transformer.r": 4, "transformer.lora_alpha": 8, "transformer.use_rslora": stable}
        path = saved(
            tmp_path / "b.safetensors", tensors, {"lora_adapter_metadata": json.dumps(config)}
        )
        assert sketch_file(path).norm == pytest.approx(scale * plain, rel=1e-5)
