"""Imports of large libraries in a thread, so that the others of the process go on.

Three things hold up all threads while torch and what builds on it are imported: loading its shared
library (half a second), the garbage collector, which looks again and again at the growing heap (a
quarter of a second each time, in the end), and Python's habit of switching threads every 5 ms only
(a request waits thirty times). Measured by benchmarks/while_embedding.py.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SWITCH_S = 0.0005
_TORCH = "torch"
_LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib")


@contextmanager
def importing_gently(*names: str) -> Iterator[None]:
    """Import these modules, in this order; what follows inside may go on making many objects.

    What is there at the end is left alone by the garbage collector, where torch came by it: in a
    process that had it already, things may be in use that are to be collected one day.
    """
    brings_torch = _TORCH in names and _TORCH not in sys.modules
    was_collecting, interval_s = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    try:
        if brings_torch:
            _load_torch_library()
        for name in names:
            importlib.import_module(name)
        yield
        if brings_torch:
            gc.freeze()
    finally:
        sys.setswitchinterval(interval_s)
        if was_collecting:
            gc.enable()


def _load_torch_library() -> None:
    """Have the system load torch's own library first: called this way, no thread has to wait.

    `import torch` then finds it there; where this does not work, it loads it as ever.
    """
    spec = importlib.util.find_spec(_TORCH)
    if os.name == "nt" or spec is None or spec.origin is None:
        return
    try:
        load = ctypes.CDLL(None).dlopen
    except (OSError, AttributeError):
        return
    load.restype, load.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
    for name in _LIBRARIES:
        library = Path(spec.origin).parent / "lib" / name
        if library.is_file():
            load(os.fsencode(library), os.RTLD_NOW)
