"""The backends of this process by name, and what is known of each without asking it anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from lora_manager_core.backends.base import BackendStatus, GenerationBackend
from lora_manager_core.errors import BackendUnavailable, Unprocessable

#: Age after which `last_status` has the probe repeated, in seconds.
_STATUS_AGE_S = 10.0


class BackendRegistry:
    """The first backend given is the default one."""

    def __init__(self, backends: Sequence[GenerationBackend]) -> None:
        self._backends = {backend.name: backend for backend in backends}
        self._statuses: dict[str, tuple[float, BackendStatus]] = {}
        self._probing: set[str] = set()
        self._changed = threading.Condition()

    @property
    def names(self) -> tuple[str, ...]:
        """The backends there are, the default one first."""
        return tuple(self._backends)

    @property
    def default_name(self) -> str | None:
        """The backend used when none is named; None if there is none at all."""
        return next(iter(self._backends), None)

    def get(self, name: str | None) -> GenerationBackend:
        """The backend of that name (None: the default).

        Raises:
            Unprocessable: no backend has that name.
            BackendUnavailable: none is set up.
        """
        chosen = name or self.default_name
        if chosen is None:
            raise BackendUnavailable(
                "No backend is set up. Set SDNEXT_URL to a running SD.Next, "
                "or DIFFUSERS_MODEL to a diffusers pipeline folder."
            )
        if chosen not in self._backends:
            known = ", ".join(self._backends) or "none"
            raise Unprocessable(f"There is no backend “{chosen}”; there is: {known}.")
        return self._backends[chosen]

    def probe(self, name: str | None = None) -> BackendStatus:
        """Ask a backend now."""
        backend = self.get(name)
        status = backend.probe()
        with self._changed:
            self._statuses[backend.name] = (time.monotonic(), status)
            self._changed.notify_all()
        return status

    def probe_all(self) -> list[BackendStatus]:
        """Ask every backend now."""
        return [self.probe(name) for name in self._backends]

    def last_status(self, name: str | None = None, wait_s: float = 0.0) -> BackendStatus | None:
        """What the last probe found; an old answer is given, and renewed in the background.

        Only for the very first answer it waits, `wait_s` seconds at most.
        """
        chosen = name or self.default_name
        if chosen is None or chosen not in self._backends:
            return None
        with self._changed:
            asked_at, status = self._statuses.get(chosen, (float("-inf"), None))
            stale = time.monotonic() - asked_at > _STATUS_AGE_S
            if stale and chosen not in self._probing:
                self._probing.add(chosen)
                threading.Thread(target=self._renew, args=(chosen,), daemon=True).start()
            if status is None and wait_s > 0:
                self._changed.wait_for(
                    lambda: chosen in self._statuses or chosen not in self._probing, wait_s
                )
                status = self._statuses.get(chosen, (0.0, None))[1]
        return status

    def close(self) -> None:
        """Close every backend."""
        for backend in self._backends.values():
            backend.close()

    def _renew(self, name: str) -> None:
        try:
            self.probe(name)
        finally:
            with self._changed:
                self._probing.discard(name)
                self._changed.notify_all()
