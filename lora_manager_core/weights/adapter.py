"""One adapter file as changes of canonical modules, read one module at a time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lora_manager_core.library.key_names import split_key
from lora_manager_core.weights.canonical import canonical, rows_of
from lora_manager_core.weights.delta import Delta
from lora_manager_core.weights.forms import NEEDS_BASE, change_of
from lora_manager_core.weights.problems import WeightsUnreadable
from lora_manager_core.weights.tensors import Floats, TensorFile


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one canonical module."""

    name: str
    delta: Delta


class AdapterWeights:
    """Use it in a `with`. `approximate`: the file does more than its changes say (DoRA)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file and look at its names.

        Raises:
            WeightsUnreadable: it cannot be read, or is of a kind that cannot be compared.
        """
        self._file = TensorFile(path)
        try:
            self._modules = _modules(self._file)
        except WeightsUnreadable:
            self._file.__exit__()
            raise
        self._scales = _Scales(self._file.header.metadata)
        self.approximate = any("dora" in parts for parts in self._modules.values())
        self._owners = _owners(self._modules)

    def __enter__(self) -> AdapterWeights:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()

    def changes(self) -> Iterator[Change]:
        """All changes in the order of the file, one module in memory at a time.

        Each is valid until the next is asked for. What the file holds twice, under two names or
        fused and by itself, counts once, as it does for loaders.

        Raises:
            WeightsUnreadable: a module is damaged or holds values that are not finite.
        """
        for module in self._modules:
            yield from self._of(module)

    def by_name(self) -> dict[str, str]:
        """Canonical name → module of the file, for `of_module`."""
        unsplit = {_unsplit(module): module for module in self._modules}
        return {**unsplit, **self._owners}

    def of_module(self, module: str) -> list[Change]:
        """The changes of one module of the file, valid until another is asked for.

        Raises as `changes` does.
        """
        return list(self._of(module))

    def _of(self, module: str) -> Iterator[Change]:
        parts = self._modules[module]
        self._file.release()

        def read(part: str) -> Floats:
            return self._file.read(parts[part])

        def scale_of(rank: int) -> float:
            if "alpha" in parts:
                return self._file.scalar(parts["alpha"]) / rank
            return self._scales.of(module, rank)

        delta = change_of(parts, read, scale_of)
        if delta is None:
            return
        where = canonical(module)
        rows = rows_of(where.split, len(where.names), delta.outputs, delta.inputs)
        if rows is None:
            yield Change(_unsplit(module), delta)
            return
        for name, (begin, end) in zip(where.names, rows, strict=True):
            if self._owners[name] == module:
                yield Change(name, delta if len(rows) == 1 else delta.part(begin, end))


def _modules(file: TensorFile) -> dict[str, dict[str, str]]:
    """Module → part → key, in the order of the file; only modules that change a matrix."""
    modules: dict[str, dict[str, str]] = {}
    for key in file.header.tensors:
        name = split_key(key)
        if name.part == "control":
            raise WeightsUnreadable("a control LoRA: it is no adapter by itself")
        if name.part in NEEDS_BASE:
            raise WeightsUnreadable(
                f"an adapter of the kind {NEEDS_BASE[name.part]}: its weights say nothing without "
                "those of the base model"
            )
        if name.part in ("other", "weight", "embedding", "norm"):
            continue
        if name.part == "diff" and len(file.shape(key)) < 2:
            continue  # a bias
        modules.setdefault(name.module, {})[name.part] = key
    found = {
        module: parts for module, parts in modules.items() if not parts.keys() <= {"alpha", "dora"}
    }
    if not found:
        raise WeightsUnreadable("no change of a weight matrix was found in it")
    begins = {
        module: min(file.offset(key) for part, key in parts.items() if part != "alpha")
        for module, parts in found.items()
    }
    return {module: found[module] for module in sorted(found, key=begins.__getitem__)}


def _owners(modules: Mapping[str, object]) -> dict[str, str]:
    """Canonical name → the module of the file that counts: one of its own before a fused one."""
    owners: dict[str, str] = {}
    for module in sorted(modules, key=lambda module: len(canonical(module).names)):
        for name in canonical(module).names:
            owners.setdefault(name, module)
    return owners


def _unsplit(module: str) -> str:
    """The name of a fused module whose widths are not what its parts should have."""
    return "+".join(canonical(module).names)


class _Scales:
    """Scales of modules without an alpha of their own.

    PEFT's configuration as diffusers keeps it in the file (`lora_adapter_metadata`, with rank
    stabilisation, arXiv 2312.03732), else kohya's `ss_network_alpha`, else 1.
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._alpha = _number(metadata.get("ss_network_alpha"))
        self._peft: dict[str, Any] = {}
        try:
            document = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        except (ValueError, RecursionError):
            document = {}
        if isinstance(document, dict):
            self._peft = document

    def of(self, module: str, rank: int) -> float:
        """What a module of that rank is multiplied with."""
        component, _, rest = module.partition(".")
        alpha = _number(self._peft.get(f"{component}.lora_alpha"))
        if alpha is None:
            return 1.0 if self._alpha is None else self._alpha / rank
        pattern = self._peft.get(f"{component}.alpha_pattern")
        if isinstance(pattern, dict):
            alpha = _number(pattern.get(rest)) or alpha
        stable = self._peft.get(f"{component}.use_rslora") is True
        return alpha / (math.sqrt(rank) if stable else rank)


def _number(value: Any) -> float | None:
    """A finite number, also from text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
