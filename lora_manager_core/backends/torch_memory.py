"""How full the accelerator is, by the account of a torch that is at work in this process already.

torch is never imported for this, nor is a device woken: that would take seconds and hundreds of
megabytes for the sake of one number.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """An accelerator's memory in bytes; `used_bytes` is what all programs use, except on MPS."""

    name: str
    used_bytes: int
    total_bytes: int


def torch_device_memory(torch: Any = None) -> DeviceMemory | None:
    """The memory of the device torch works on; None if it works on none.

    `torch` is the loaded module (default: the one of this process, if there is one).
    """
    torch = torch or sys.modules.get("torch")
    for kind in ("cuda", "xpu"):  # ROCm is `cuda` too
        device = getattr(torch, kind, None)
        # Another thread may be in the midst of importing torch.
        if device is None or not hasattr(device, "mem_get_info") or not device.is_initialized():
            continue
        try:
            free, total = device.mem_get_info()
        except RuntimeError:  # the driver does not tell, or the device is lost
            return None
        return DeviceMemory(str(device.get_device_name()), int(total - free), int(total))
    mps: Any = getattr(torch, "mps", None)
    if hasattr(mps, "recommended_max_memory") and torch.backends.mps.is_available():
        return DeviceMemory(
            "Apple GPU", int(mps.driver_allocated_memory()), int(mps.recommended_max_memory())
        )
    return None
