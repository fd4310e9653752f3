"""The accelerator as SD.Next itself reads it, for the dashboard."""

from __future__ import annotations

import logging
from typing import Protocol

from lora_manager_core.system.device import DeviceReading, NoReading


class HostDevices(Protocol):
    """What of the host is needed to read its device."""

    def device_kind(self) -> str | None: ...
    def device_memory(self) -> tuple[str, int, int] | None: ...


class HostDevice:
    """The device that the host makes its pictures on, whichever it is."""

    def __init__(self, host: HostDevices, log: logging.Logger) -> None:
        self._host = host
        self._log = log

    def read(self) -> DeviceReading | NoReading:
        """Ask the host's own memory monitor now."""
        try:
            kind = self._host.device_kind()
            if kind is None:
                return NoReading("SD.Next has not chosen its device yet.")
            if kind == "cpu":
                return NoReading("SD.Next works on the CPU, so there is no GPU to read.", True)
            memory = self._host.device_memory()
        except Exception as error:  # noqa: BLE001 - the host's border: a figure less, nothing more
            self._log.debug("LoRA Manager: the device was not read", exc_info=True)
            return NoReading(f"SD.Next's device cannot be read: {error}")
        if memory is None:
            return NoReading(f"SD.Next does not tell the memory of its device ({kind}).")
        return DeviceReading(*memory)
