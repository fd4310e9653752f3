"""The port of providers: who can say what a model file is, by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lora_manager_core.errors import BackendUnavailable


class ProviderUnavailable(BackendUnavailable):
    """The provider cannot be reached, or fails; later it may not."""

    code = "provider_unavailable"
    title = "Provider unavailable"


class ProviderRefused(BackendUnavailable):
    """The provider takes no requests of ours: the key is wrong, or the address is."""

    code = "provider_refused"
    title = "Provider refuses"
    may_pass = False


class ProviderBusy(ProviderUnavailable):
    """The provider asks to wait for `retry_after_s` seconds."""

    code = "provider_busy"
    title = "Provider busy"

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class ModelInfoProvider(Protocol):
    """One provider. All methods may raise the errors above."""

    #: Kept with its answers.
    name: str
    #: The least time between two requests, in seconds.
    pause_s: float

    def find(self, sha256: str) -> Mapping[str, Any] | None:
        """What it says of a file, in the form of a Civitai version; None if it knows none."""

    def picture(self, url: str) -> bytes:
        """A picture or clip of one of its answers, at most `previews.kinds.MAX_BYTES` long."""
