"""Threads that give way to all others, where the system knows such a thing."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

#: As `nice` counts: 19 would get next to nothing while a picture is made on the CPU.
_NICENESS = 10
#: `THREAD_MODE_BACKGROUND_BEGIN` of SetThreadPriority: less of the processor and of the disk.
_WINDOWS_BACKGROUND = 0x00010000


def lower_this_thread() -> None:
    """Lower the priority of the calling thread for as long as it lives.

    Elsewhere than on Linux and Windows a priority is the whole process's, and stays as it is.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # some containers forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    elif sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.GetCurrentThread.restype = ctypes.c_void_p
        kernel.SetThreadPriority(ctypes.c_void_p(kernel.GetCurrentThread()), _WINDOWS_BACKGROUND)
