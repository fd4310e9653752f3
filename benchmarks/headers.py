"""What reading 10,000 adapter files costs, beside the bare cost of opening and parsing them.

    python benchmarks/headers.py [--library DIR] [--count 10000]
    python benchmarks/headers.py --damaged 100000

Without --library a synthetic library is generated into a temporary folder first. `--damaged` reads
that many files with damaged headers instead, and says how much memory was left behind.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from lora_manager_core.library import facts, key_names, safetensors_header
from lora_manager_core.library.facts import read_facts
from lora_manager_core.library.network_type import describe_network
from lora_manager_core.library.side_files import read_side_files
from lora_manager_core.library.structure import structure_of
from tests.fakes.damaged_headers import damaged_files

DEFAULT_GENERATOR = Path(__file__).parents[2] / "shared" / "tools" / "make_lora_library.py"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--generator", type=Path, default=DEFAULT_GENERATOR)
    parser.add_argument("--library", type=Path, help="an existing library, not a generated one")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--payload", type=int, default=4096, help="tensor bytes per file, about")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--damaged", type=int, help="read so many damaged files instead")
    parser.add_argument("--seed", type=int, default=6, help="of the damage")
    args = parser.parse_args()
    if args.damaged:
        measure_damaged(args.damaged, args.seed)
        return
    if args.library is not None:
        measure_library(args.library, args.repeats)
    else:
        with tempfile.TemporaryDirectory() as folder:
            generator(args.generator).generate(folder, args.count, args.payload, 7)
            measure_library(Path(folder), args.repeats)
    measure_analysis()


def generator(path: Path) -> Any:
    """The library generator, imported by path."""
    spec = importlib.util.spec_from_file_location("make_lora_library", path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path} is no Python file: name the generator with --generator")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def adapters(root: Path) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Folder, stem, relative folder and file names (lower-cased → real) of each adapter."""
    for folder, _, files in os.walk(root):
        names = {name.lower(): name for name in files}
        relative = os.path.relpath(folder, root)
        for name in files:
            if name.endswith(".safetensors"):
                yield folder, name.removesuffix(".safetensors"), relative, names


def measure_library(root: Path, repeats: int) -> None:
    """Files of a library: bare cost, facts with and without remembered tables, side files."""
    files = list(adapters(root))
    paths = [(os.path.join(f, s + ".safetensors"), r) for f, s, r, _ in files]  # noqa: PTH118

    def bare() -> None:
        for path, _ in paths:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123  the bare cost
                start = file.read(65536)
                length = int.from_bytes(start[:8], "little")
                raw = start[8 : 8 + length]
                if len(raw) < length:
                    raw += file.read(length - len(raw))
            orjson.loads(raw)

    def read() -> None:
        for path, relative in paths:
            read_facts(path, None, relative)

    def read_each_alone() -> None:
        for path, relative in paths:
            read_facts(path, None, relative)
            safetensors_header.forget_tables()
            facts.forget_tables()

    def side() -> None:
        for folder, stem, _, names in files:
            read_side_files(folder, stem, names)

    report(f"{len(files)} files: open + read + orjson.loads", bare, repeats)
    report(f"{len(files)} files: read_facts", read, repeats)
    report(f"{len(files)} files: read_facts, no table remembered", read_each_alone, repeats)
    report(f"{len(files)} files: read_side_files", side, repeats)


def measure_damaged(count: int, seed: int) -> None:
    """Damaged files: how many are refused, and the memory after each tenth of them."""
    refused = 0
    resident = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.safetensors"
        started = time.perf_counter()
        for number, content in enumerate(damaged_files(count, seed), start=1):
            path.write_bytes(content)
            refused += read_facts(path, None, "").problem is not None
            if number % max(1, count // 10) == 0:
                resident.append(psutil.Process().memory_info().rss / 2**20)
        seconds = time.perf_counter() - started
    print(f"{count} damaged files: {refused} refused, {count - refused} readable, {seconds:.1f} s")
    print("resident memory after each tenth, MiB: " + " ".join(f"{mib:.0f}" for mib in resident))


def measure_analysis() -> None:
    """The analysis alone, with names never seen before and with known ones."""
    for label, tensors in (("264 modules", sd15()), ("986 modules", sdxl())):

        def known(tensors: dict[str, Any] = tensors) -> None:
            structure_of(describe_network(tensors).layout)

        def unseen(tensors: dict[str, Any] = tensors) -> None:
            key_names.split_key.cache_clear()
            key_names.place_of.cache_clear()
            known(tensors)

        report(f"{label}: analysis, unseen names", unseen, 9)
        report(f"{label}: analysis, known names", known, 9)


def report(label: str, work: Callable[[], None], repeats: int) -> None:
    """Print the best and the median of `repeats` runs, in milliseconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    print(f"{label:<48} best {min(times):9.2f} ms   median {statistics.median(times):9.2f} ms")


def triples(modules: list[tuple[str, int, int]]) -> dict[str, Any]:
    """alpha, lora_down and lora_up entries of modules (name, in, out) at rank 16."""
    tensors: dict[str, Any] = {}
    for name, inputs, outputs in modules:
        tensors[f"{name}.alpha"] = {"dtype": "F16", "shape": []}
        tensors[f"{name}.lora_down.weight"] = {"dtype": "F16", "shape": [16, inputs]}
        tensors[f"{name}.lora_up.weight"] = {"dtype": "F16", "shape": [outputs, 16]}
    return tensors


def transformer(prefix: str, width: int, text: int, depth: int) -> list[tuple[str, int, int]]:
    """The modules of one attention unit of a UNet, `depth` transformer blocks deep."""
    modules = [(f"{prefix}_proj_in", width, width), (f"{prefix}_proj_out", width, width)]
    for block in range(depth):
        start = f"{prefix}_transformer_blocks_{block}"
        for attention, source in (("attn1", width), ("attn2", text)):
            modules.append((f"{start}_{attention}_to_q", width, width))
            modules.extend((f"{start}_{attention}_to_{p}", source, width) for p in ("k", "v"))
            modules.append((f"{start}_{attention}_to_out_0", width, width))
        modules.append((f"{start}_ff_net_0_proj", width, 8 * width))
        modules.append((f"{start}_ff_net_2", 4 * width, width))
    return modules


def clip(prefix: str, width: int, layers: int) -> list[tuple[str, int, int]]:
    """The modules of a CLIP text encoder."""
    modules = []
    for layer in range(layers):
        start = f"{prefix}_text_model_encoder_layers_{layer}"
        modules += [(f"{start}_self_attn_{p}_proj", width, width) for p in ("q", "k", "v", "out")]
        modules += [(f"{start}_mlp_fc1", width, 4 * width), (f"{start}_mlp_fc2", 4 * width, width)]
    return modules


def sd15() -> dict[str, Any]:
    """The 264 modules of a kohya SD 1.5 LoRA (192 of the UNet, 72 of CLIP-L)."""
    modules = clip("lora_te", 768, 12)
    widths = (320, 640, 1280)
    for block, width in enumerate(widths):
        for unit in range(2):
            start = f"lora_unet_down_blocks_{block}_attentions_{unit}"
            modules += transformer(start, width, 768, 1)
    modules += transformer("lora_unet_mid_block_attentions_0", 1280, 768, 1)
    for block, width in enumerate(reversed(widths), start=1):
        for unit in range(3):
            modules += transformer(f"lora_unet_up_blocks_{block}_attentions_{unit}", width, 768, 1)
    return triples(modules)


def sdxl() -> dict[str, Any]:
    """The 986 modules of a kohya SDXL LoRA (722 of the UNet, 264 of both text encoders)."""
    modules = clip("lora_te1", 768, 12) + clip("lora_te2", 1280, 32)
    for unit, width, depth in ((4, 640, 2), (5, 640, 2), (7, 1280, 10), (8, 1280, 10)):
        modules += transformer(f"lora_unet_input_blocks_{unit}_1", width, 2048, depth)
    modules += transformer("lora_unet_middle_block_1", 1280, 2048, 10)
    for unit in range(6):
        width, depth = (1280, 10) if unit < 3 else (640, 2)
        modules += transformer(f"lora_unet_output_blocks_{unit}_1", width, 2048, depth)
    return triples(modules)


if __name__ == "__main__":
    main()
