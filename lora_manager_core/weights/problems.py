"""What may be wrong with the weights of an adapter file."""

from __future__ import annotations


class WeightsUnreadable(ValueError):
    """The weights cannot be read or compared; `reason` says why, for people, without the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
