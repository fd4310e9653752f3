"""Do adapters trained for the same thing look alike? Forty really trained small LoRAs.

    python benchmarks/trained_loras.py [--tasks 10] [--seeds 4] [--steps 300]

A small network is trained to tell ten shapes of waves apart and frozen. Each task is another order
of the labels of the same four shapes; LoRAs are trained on it with different seeds and few signals
of their own, and saved as files. Then each asks for those of its own task among all others: by the
exact cosine, by sketches of side 64 and 32, by the raw factors side by side, and by chance. Some
minutes on two cores, offline.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from lora_manager_core.weights.overlap import compare_files
from lora_manager_core.weights.sketch import sketch_file

CLASSES = 10
LENGTH = 64
WIDTH = 128
RANK = 4
BLOCKS = 3


class Layer(torch.nn.Module):
    """A linear layer with a LoRA beside it, off until `begin`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = torch.nn.Linear(inputs, outputs)
        self.down: torch.nn.Parameter | None = None
        self.up: torch.nn.Parameter | None = None

    def begin(self, generator: torch.Generator) -> list[torch.nn.Parameter]:
        """A fresh LoRA as PEFT begins one: random down, zero up."""
        inputs, outputs = self.base.in_features, self.base.out_features
        self.down = torch.nn.Parameter(torch.randn(RANK, inputs, generator=generator) / inputs**0.5)
        self.up = torch.nn.Parameter(torch.zeros(outputs, RANK))
        return [self.down, self.up]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.base(x)
        if self.down is not None and self.up is not None:
            y = y + x @ self.down.T @ self.up.T
        return y


class Network(torch.nn.Module):
    """Residual blocks of two layers, named so that the files have the names of a UNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(LENGTH, WIDTH)
        self.layers = torch.nn.ModuleList(
            Layer(WIDTH, 2 * WIDTH) if number % 2 == 0 else Layer(2 * WIDTH, WIDTH)
            for number in range(2 * BLOCKS)
        )
        self.last = torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for wide, narrow in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = x + narrow(
                torch.nn.functional.gelu(wide(torch.nn.functional.layer_norm(x, x.shape[1:])))
            )
        return self.last(x)

    def save(self, path: Path) -> None:
        """The LoRA as kohya names it, in float16."""
        tensors = {}
        for number, layer in enumerate(self.layers):
            assert layer.down is not None
            assert layer.up is not None
            place = f"lora_unet_down_blocks_{number // 2}_attentions_0_transformer_blocks_0"
            part = "ff_net_0_proj" if number % 2 == 0 else "ff_net_2"
            tensors[f"{place}_{part}.lora_down.weight"] = layer.down.detach().half()
            tensors[f"{place}_{part}.lora_up.weight"] = layer.up.detach().half()
        save_file(tensors, path)


def waves(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Signals of ten shapes (frequency and harmonics), shifted and noisy, with their classes."""
    kinds = torch.randint(CLASSES, (count,), generator=generator)
    time_ = torch.arange(LENGTH) / LENGTH
    shift = torch.rand(count, 1, generator=generator)
    phase = 2 * torch.pi * (time_ + shift)
    frequency = (1 + kinds % 5).unsqueeze(1)
    signal = torch.sin(frequency * phase)
    odd = (kinds >= 5).unsqueeze(1)
    signal = torch.where(odd, signal + 0.7 * torch.sin(3 * frequency * phase), signal)
    noise = 0.5 * torch.randn(count, LENGTH, generator=generator)
    return signal + noise, kinds


def train(
    network: Network,
    parameters: list[torch.nn.Parameter],
    labels: torch.Tensor,
    steps: int,
    rate: float,
    generator: torch.Generator,
    data: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> float:
    """Train `parameters`; gives the accuracy on data not seen."""
    optimizer = torch.optim.AdamW(parameters, rate)
    for _ in range(steps):
        if data is None:
            x, kinds = waves(128, generator)
        else:
            rows = torch.randint(len(data[0]), (64,), generator=generator)
            x, kinds = data[0][rows], data[1][rows]
        loss = torch.nn.functional.cross_entropy(network(x), labels[kinds])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        x, kinds = waves(2000, torch.Generator().manual_seed(99))
        return float((network(x).argmax(1) == labels[kinds]).float().mean())


def main() -> None:
    """Train, save, and print how well each way finds those of the same task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--base-steps", type=int, default=800)
    args = parser.parse_args()
    started = time.perf_counter()
    torch.set_num_threads(1)  # the quickest for matrices so small
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    network = Network()
    own = torch.arange(CLASSES)
    right = train(network, list(network.parameters()), own, args.base_steps, 1e-3, generator)
    print(f"base network: {right:.3f} of unseen signals right ({CLASSES} classes)")
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        paths, tasks, before, after = [], [], [], []
        for task in range(args.tasks):
            labels = task_labels(task)
            for seed in range(args.seeds):
                generator = torch.Generator().manual_seed(1000 * task + seed + 7)
                fresh = [p for layer in network.layers for p in layer.begin(generator)]
                data = waves(60, generator)  # every LoRA sees signals of its own
                before.append(train(network, fresh, labels, 0, 1e-3, generator, data))
                after.append(train(network, fresh, labels, args.steps, 3e-3, generator, data))
                paths.append(Path(folder) / f"{task}-{seed}.safetensors")
                network.save(paths[-1])
                tasks.append(task)
        print(f"{len(paths)} LoRAs of rank {RANK} in {time.perf_counter() - started:.0f} s")
        print(f"right on their task: {np.mean(before):.3f} before, {np.mean(after):.3f} after")
        show(paths, np.array(tasks))
    print(f"all of it took {time.perf_counter() - started:.0f} s")


def task_labels(task: int) -> torch.Tensor:
    """Four classes change places, the same four for all tasks: only how they do is the task."""
    orders = [order for order in permutations(range(4)) if order != (0, 1, 2, 3)]
    labels = np.arange(CLASSES)
    labels[:4] = orders[np.random.default_rng(100).permutation(len(orders))[task]]
    return torch.from_numpy(labels)


def show(paths: list[Path], tasks: NDArray[np.int64]) -> None:
    """Mean average precision of each way to compare, and how far tasks lie apart."""
    count = len(paths)
    exact = np.eye(count)
    for a in range(count):
        for b in range(a):
            exact[a, b] = exact[b, a] = compare_files(paths[a], paths[b]).whole.cosine
    sketches = np.stack([sketch_file(path).sketch for path in paths])
    ways = {
        "exact cosine of the changes": exact,
        "sketches, p = 64": cosines(sketches.reshape(count, -1)),
        "sketches, p = 32": cosines(sketches[:, :32, :32].reshape(count, -1)),
        "raw factors side by side": cosines(np.stack([raw(path) for path in paths])),
    }
    same = tasks[:, None] == tasks[None, :]
    others = ~np.eye(count, dtype=bool)
    for name, alike in ways.items():
        low, middle, high = spread(precisions(alike, tasks))
        print(
            f"{name:<30} MAP {middle:.3f} (95 %: {low:.3f} to {high:.3f})   mean cosine "
            f"{alike[same & others].mean():+.3f} in a task, {alike[~same].mean():+.3f} beyond it"
        )
    random = np.random.default_rng(0)
    chance = [precisions(random.random((count, count)), tasks).mean() for _ in range(200)]
    print(f"{'chance':<30} MAP {np.mean(chance):.3f}")
    error = (ways["sketches, p = 64"] - exact)[np.tril_indices(count, -1)]
    print(f"sketches, p = 64, against the exact cosine: RMSE {np.sqrt((error**2).mean()):.4f} "
          f"over {len(error)} pairs")  # fmt: skip


def raw(path: Path) -> NDArray[np.float32]:
    from safetensors.numpy import load_file

    tensors = load_file(path)
    return np.concatenate([tensors[key].astype(np.float32).ravel() for key in sorted(tensors)])


def cosines(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    unit = rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def precisions(alike: NDArray[np.float64], tasks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average precision of each file asking for the others of its task."""
    found = []
    for row, task in enumerate(tasks):
        order = np.argsort(-alike[row])
        order = order[order != row]
        hits = tasks[order] == task
        ranks = np.flatnonzero(hits) + 1
        found.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return np.array(found)


def spread(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean within its bootstrap interval."""
    random = np.random.default_rng(0)
    drawn = values[random.integers(0, len(values), (2000, len(values)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(values.mean()), float(high)


if __name__ == "__main__":
    main()
