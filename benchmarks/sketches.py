"""How true sketches of weights are, and what they cost.

    python benchmarks/sketches.py [accuracy|speed|duplicates] [--pairs 20] [--count 10000]

accuracy: sketches beside the exact cosine of generated files of every form and relation.
speed: the SD 1.5 (36 MB) and SDXL (218 MB) LoRA of rank 32, one thread, in a process of its own,
beside the bare reading of the same bytes and the reading of the header alone; then in helpers.
duplicates: all near-duplicates among so many sketches.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from headers import sd15, sdxl
from numpy.typing import NDArray
from safetensors.numpy import save_file

from lora_manager_core.library.network_type import describe_network
from lora_manager_core.library.safetensors_header import forget_tables, read_header
from lora_manager_core.library.structure import structure_of
from lora_manager_core.recommendations.sets.neighbours import close_pairs
from lora_manager_core.weights.adapter import AdapterWeights
from lora_manager_core.weights.overlap import compare_files
from lora_manager_core.weights.signs import SIDE, left_signs, module_signs, right_signs
from lora_manager_core.weights.sketch import sketch_file
from lora_manager_core.weights.sketching import ONE_THREAD, SketchWorkers

Tensors = dict[str, NDArray[np.float32]]
Random = np.random.Generator

RANK = 8


def units() -> Iterator[tuple[str, str, int]]:
    """The attention units of SD 1.5 as sgm and diffusers name them, a quarter as wide."""
    for level, width in enumerate((80, 160, 320)):
        for unit in range(2):
            number = 3 * level + unit + 1
            yield f"input_blocks_{number}_1", f"down_blocks.{level}.attentions.{unit}", width
        for unit in range(3):
            number = 9 - 3 * level + unit
            yield f"output_blocks_{number}_1", f"up_blocks.{3 - level}.attentions.{unit}", width
    yield "middle_block_1", "mid_block.attentions.0", 320


def modules() -> Iterator[tuple[str, str, int, int]]:
    """Both names of each of the 160 modules inside them, outputs and inputs."""
    for sgm, dotted, width in units():
        for attention, source in (("attn1", width), ("attn2", 192)):
            for part, inputs in (("to_q", width), ("to_k", source), ("to_v", source)):
                name = f"transformer_blocks.0.{attention}.{part}"
                flat = name.replace(".", "_")
                yield f"lora_unet_{sgm}_{flat}", f"unet.{dotted}.{name}", width, inputs
            name = f"transformer_blocks.0.{attention}.to_out.0"
            flat = name.replace(".", "_")
            yield f"lora_unet_{sgm}_{flat}", f"unet.{dotted}.{name}", width, width
        for part, outputs, inputs in (("0.proj", 8 * width, width), ("2", width, 4 * width)):
            name = f"transformer_blocks.0.ff.net.{part}"
            flat = name.replace(".", "_")
            yield f"lora_unet_{sgm}_{flat}", f"unet.{dotted}.{name}", outputs, inputs


MODULES = list(modules())


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    kinds = ["accuracy", "speed", "duplicates", "time"]
    parser.add_argument("what", nargs="?", choices=kinds, help="only this")
    parser.add_argument("--pairs", type=int, default=20, help="per relation")
    parser.add_argument("--count", type=int, default=10_000, help="sketches")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--file", help="what `time` times")
    args = parser.parse_args()
    if args.what == "time":
        time_file(args.file, args.repeats)
        return
    for what in [args.what] if args.what else ["accuracy", "speed", "duplicates"]:
        print(f"\n== {what}")
        if what == "accuracy":
            accuracy(args.pairs)
        elif what == "speed":
            speed(args.repeats)
        else:
            duplicates(args.count)


# --- accuracy ------------------------------------------------------------------------------------


def normal(random: Random, *shape: int) -> NDArray[np.float32]:
    """Numbers of the size that trained factors have; spectra fall off as theirs do."""
    return random.standard_normal(shape).astype(np.float32) * np.float32(0.05)


def factors(random: Random) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """A LoRA: up and down of every module, singular values falling by a fifth each."""
    fall = np.float32(0.8) ** np.arange(RANK, dtype=np.float32)
    return [(normal(random, o, RANK) * fall, normal(random, RANK, i)) for _, _, o, i in MODULES]


def kohya(pairs: list, alpha: float = RANK) -> Tensors:
    tensors: Tensors = {}
    for (name, _, _, _), (up, down) in zip(MODULES, pairs, strict=True):
        tensors[f"{name}.lora_up.weight"] = up
        tensors[f"{name}.lora_down.weight"] = down
        tensors[f"{name}.alpha"] = np.float32(alpha) * np.ones((), np.float32) * len(down) / RANK
    return tensors


def diffusers(pairs: list) -> Tensors:
    tensors: Tensors = {}
    for (_, name, _, _), (up, down) in zip(MODULES, pairs, strict=True):
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = down, up
    return tensors


def refactored(pairs: list, random: Random) -> list:
    turns = [normal(random, RANK, RANK) * 20 + np.eye(RANK, dtype=np.float32) for _ in pairs]
    return [(u @ np.linalg.inv(t), t @ d) for (u, d), t in zip(pairs, turns, strict=True)]


def resized(pairs: list, rank: int) -> list:
    """The best approximation of a lower rank, from a QR of each factor and one small SVD."""
    made = []
    for up, down in pairs:
        (q, r), (p, s) = np.linalg.qr(up), np.linalg.qr(down.T)
        left, values, right = np.linalg.svd(r @ s.T)
        root = np.sqrt(values[:rank])
        made.append((q @ (left[:, :rank] * root), (root[:, None] * right[:rank]) @ p.T))
    return made


def mixed(pairs: list, others: list, share: float) -> list:
    """share · one + sqrt(1 − share²) · other."""
    rest = np.float32((1 - share**2) ** 0.5)
    return [
        (np.hstack([u * np.float32(share), v * rest]), np.vstack([d, e]))
        for (u, d), (v, e) in zip(pairs, others, strict=True)
    ]


def whole(pairs: list) -> Tensors:
    return {f"{m[0]}.diff": u @ d for m, (u, d) in zip(MODULES, pairs, strict=True)}


def loha(random: Random) -> Tensors:
    tensors: Tensors = {}
    for name, _, o, i in MODULES:
        for number in (1, 2):
            tensors[f"{name}.hada_w{number}_a"] = normal(random, o, 4)
            tensors[f"{name}.hada_w{number}_b"] = normal(random, 4, i)
    return tensors


def lokr(random: Random) -> Tensors:
    tensors: Tensors = {}
    for name, _, o, i in MODULES:
        tensors[f"{name}.lokr_w1"] = normal(random, 8, 8)
        tensors[f"{name}.lokr_w2_a"] = normal(random, o // 8, 4)
        tensors[f"{name}.lokr_w2_b"] = normal(random, 4, i // 8)
    return tensors


def locon(random: Random) -> Tensors:
    tensors = kohya(factors(random))
    for level, width in ((1, 80), (5, 160)):
        name = f"lora_unet_input_blocks_{level}_0_in_layers_2"
        tensors[f"{name}.lora_down.weight"] = normal(random, RANK, width, 3, 3)
        tensors[f"{name}.lora_up.weight"] = normal(random, width, RANK, 1, 1)
    return tensors


def near(tensors: Tensors, random: Random, share: float = 0.3) -> Tensors:
    """The same after some more training: every factor a little elsewhere."""
    return {
        key: t + np.float32(share) * t.std() * random.standard_normal(t.shape).astype(np.float32)
        if t.ndim
        else t
        for key, t in tensors.items()
    }


def flux(random: Random, fused: bool) -> Tensors:
    up, down = normal(random, 3 * 768, RANK), normal(random, RANK, 768)
    if fused:
        name = "lora_unet_double_blocks_3_img_attn_qkv"
        return {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    tensors: Tensors = {}
    for part, letter in enumerate("qkv"):
        name = f"transformer.transformer_blocks.3.attn.to_{letter}"
        tensors[f"{name}.lora_A.weight"] = down
        tensors[f"{name}.lora_B.weight"] = np.ascontiguousarray(up[768 * part : 768 * part + 768])
    return tensors


def relations(seed: int) -> Iterator[tuple[str, Tensors, Tensors]]:
    """Pairs of files and what they are to each other."""
    random = np.random.default_rng(seed)
    one, other = factors(random), factors(random)
    plain = kohya(one)
    yield "unrelated LoRA", plain, kohya(other)
    yield "same, in other factors", plain, kohya(refactored(one, random))
    yield "same, twice as strong", plain, kohya(one, 2 * RANK)
    yield "same, sgm and diffusers", plain, diffusers(one)
    yield "same, LoRA and whole", plain, whole(one)
    fused = np.random.default_rng(seed + 1), np.random.default_rng(seed + 1)
    yield "same, fused and split", flux(fused[0], True), flux(fused[1], False)
    yield "resized 8 to 4", plain, kohya(resized(one, 4))
    yield "resized 8 to 2", plain, kohya(resized(one, 2))
    for share in (0.95, 0.8, 0.5, 0.2, 0.1):
        yield f"mixed, {share} of it", plain, kohya(mixed(one, other, share))
    for name, make in (("LoCon", locon), ("LoHa", loha), ("LoKr", lokr)):
        tensors = make(random)
        yield f"trained on, {name}", tensors, near(tensors, random)
        yield f"unrelated {name}", tensors, make(random)
    yield "LoHa and LoKr", loha(random), lokr(random)


def accuracy(pairs: int) -> None:
    """Sketches beside exact cosines, by relation, and the error of all."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "a.safetensors", Path(folder) / "b.safetensors"
        for seed in range(pairs):
            for relation, first, second in relations(1000 * seed):
                save_file({k: np.ascontiguousarray(t) for k, t in first.items()}, one)
                save_file({k: np.ascontiguousarray(t) for k, t in second.items()}, two)
                exact = compare_files(one, two).whole.cosine
                left, right = sketch_file(one).sketch, sketch_file(two).sketch
                estimates = [cosine(left[:side, :side], right[:side, :side]) for side in (64, 32)]
                found.setdefault(relation, []).append((exact, *estimates))
    print(f"{'relation':<26} {'pairs':>5} {'exact':>8} {'p = 64':>8} {'p = 32':>8}   largest error")
    for relation, rows in found.items():
        exact, whole_, half = (np.array(column) for column in zip(*rows, strict=True))
        errors = np.abs(whole_ - exact).max(), np.abs(half - exact).max()
        print(f"{relation:<26} {len(rows):>5} {exact.mean():>8.4f} {whole_.mean():>8.4f} "
              f"{half.mean():>8.4f}   {errors[0]:.4f} {errors[1]:.4f}")  # fmt: skip
    table = np.array([row for rows in found.values() for row in rows])
    unsure = np.array([row for rows in found.values() for row in rows if abs(row[0]) < 0.99])
    for label, rows in (("all", table), ("of cosines below 0.99", unsure)):
        for side, column in ((64, 1), (32, 2)):
            low, middle, high = rmse(rows[:, column] - rows[:, 0])
            print(f"RMSE at p = {side}, {label}: {middle:.4f} (95 %: {low:.4f} to {high:.4f}), "
                  f"{len(rows)} pairs")  # fmt: skip


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def rmse(errors: NDArray[np.float64]) -> tuple[float, float, float]:
    """The root mean square, within its bootstrap interval."""
    random = np.random.default_rng(0)
    drawn = errors[random.integers(0, len(errors), (2000, len(errors)))]
    low, high = np.quantile(np.sqrt((drawn**2).mean(1)), [0.025, 0.975])
    return float(low), float(np.sqrt((errors**2).mean())), float(high)


# --- speed ---------------------------------------------------------------------------------------


def speed(repeats: int) -> None:
    """Files as trainers write them, each timed in a process with one thread."""
    with tempfile.TemporaryDirectory() as folder:
        for label, entries in (("SD 1.5", sd15()), ("SDXL", sdxl())):
            path = Path(folder) / f"{label}.safetensors"
            write_like(entries, path)
            print(f"{label}, rank 32, {path.stat().st_size / 1e6:.0f} MB, "
                  f"{len(entries) // 3} modules")  # fmt: skip
            subprocess.run(
                [sys.executable, __file__, "time", "--file", path, "--repeats", str(repeats)],
                env={**os.environ, **ONE_THREAD}, check=True,
            )  # fmt: skip
            for helpers in (1, 2):
                paths = [str(path)] * 8
                with SketchWorkers(len(paths), helpers) as workers:
                    list(workers.rows(paths[:helpers], nullcontext))
                    started = time.perf_counter()
                    list(workers.rows(paths, nullcontext))
                    taken = time.perf_counter() - started
                print(f"  in {helpers} helper processes: {len(paths) / taken:.1f} files a second")


def write_like(entries: dict, path: Path) -> None:
    random = np.random.default_rng(0)
    tensors = {}
    for key, entry in entries.items():
        if key.endswith("alpha"):
            tensors[key] = np.array(16, np.float16)
        else:
            shape = [32 if size == 16 else size for size in entry["shape"]]
            tensors[key] = normal(random, *shape).astype(np.float16)
    save_file(tensors, path)


def time_file(path: str, repeats: int) -> None:
    """Best and median of each step, in milliseconds."""

    def bare() -> None:
        scratch = bytearray(1 << 20)
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  the bare cost
            while file.readinto(scratch):
                pass

    def header() -> None:
        forget_tables()
        structure_of(describe_network(read_header(path).tensors).layout)

    report("  bare reading of the bytes", bare, repeats)
    report("  header alone", header, repeats)
    report("  sketch alone, one thread", lambda: _sketch_alone(path), repeats)
    report("  sketch and profile, one thread", lambda: sketch_file(path), repeats)


def _sketch_alone(path: str) -> None:
    with AdapterWeights(path) as weights:
        total = np.zeros((SIDE, SIDE))
        for change in weights.changes():
            delta = change.delta
            seen = delta.project(left_signs(delta.outputs), right_signs(delta.inputs))
            total += seen * module_signs(change.name)


def report(label: str, work: Callable[[], object], repeats: int) -> None:
    work()  # names, signs and the page cache
    times, busy = [], []
    for _ in range(repeats):
        started, started_busy = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - started) * 1000)
        busy.append((time.process_time() - started_busy) * 1000)
    print(f"{label:<34} best {min(times):8.1f} ms   median {statistics.median(times):8.1f} ms   "
          f"of it on the processor {min(busy):8.1f} ms")  # fmt: skip


# --- duplicates ----------------------------------------------------------------------------------


def duplicates(count: int) -> None:
    """All near-duplicates among sketches of which one in a hundred has one."""
    random = np.random.default_rng(0)
    whole_ = random.standard_normal((count, 64, 64)).astype(np.float32)
    copies = count // 100
    noise = random.standard_normal((copies, 64, 64)).astype(np.float32)
    whole_[count - copies :] = whole_[:copies] + np.float32(0.15) * noise
    whole_ /= np.linalg.norm(whole_, axis=(1, 2), keepdims=True)
    small = whole_[:, :32, :32].reshape(count, 1024)
    small = small / np.linalg.norm(small, axis=1, keepdims=True)
    ids = [str(number) for number in range(count)]
    blobs = dict(zip(ids, (row.astype("<f2").tobytes() for row in whole_), strict=True))
    started = time.perf_counter()
    pairs = close_pairs(small, ids, lambda wanted: {i: blobs[i] for i in wanted}, 0.97)
    taken = time.perf_counter() - started
    print(f"{len(pairs)} of {copies} pairs among {count} sketches in {taken:.2f} s")


if __name__ == "__main__":
    main()
