"""Which paths may be touched: everything from outside is resolved and must lie inside a root."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lora_manager_core.errors import UnsafePath

#: Endings of the files that hold adapters.
MODEL_SUFFIXES = (".safetensors", ".pt", ".ckpt")


def path_key(path: str | os.PathLike[str]) -> str:
    """The path as a comparison key: absolute, and without case where the system has none."""
    return os.path.normcase(Path(path).absolute())


def is_inside(path: Path, root: Path) -> bool:
    """Whether `path` lies in `root`, links resolved on both sides."""
    return path.resolve().is_relative_to(root.resolve())


def require_inside(path: str, roots: Iterable[Path], purpose: str) -> Path:
    """The resolved path, if it lies in one of the roots.

    Raises:
        UnsafePath: it does not, or cannot be a path at all.
    """
    if "\0" in path:
        raise UnsafePath(f"{purpose} contains a NUL character and cannot be a path.")
    allowed = [root for root in roots if root]
    resolved = Path(path).expanduser()
    for root in allowed:
        if is_inside(resolved, root):
            return resolved
    raise UnsafePath(
        f"{purpose} must lie inside one of the configured library folders; "
        "move the file there or add its folder to the library roots."
    )
