"""Changes as the system tells them, through `watchfiles`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

#: Longest wait of one round, in milliseconds: how often the watcher looks at what has settled.
ROUND_MS = 200
#: A burst is handed over at least so often, in milliseconds.
_BURST_MS = 400
#: Without further changes for so long, in milliseconds, a burst is over.
_STEP_MS = 50


class NativeUnavailable(Exception):
    """The system does not tell of changes; the text says why, for people."""


def native_changes(folders: Sequence[str], stopped: threading.Event) -> Iterator[set[str]]:
    """Paths that changed at or below these folders, round by round, an empty set where none did.

    Ends when `stopped` is set. Raises `NativeUnavailable`, also later, when watching ends.
    """
    try:
        from watchfiles import watch
    except ImportError as error:
        raise NativeUnavailable(
            "The watchfiles package cannot be loaded; install it and restart."
        ) from error
    # It writes a line for each round, which with thousands of files are hundreds.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    rounds = watch(
        *folders,
        watch_filter=None,
        debounce=_BURST_MS,
        step=_STEP_MS,
        rust_timeout=ROUND_MS,
        stop_event=stopped,
        yield_on_timeout=True,
        force_polling=False,
        ignore_permission_denied=False,  # it would hide every other trouble, too
        raise_interrupt=False,
    )
    try:
        for changes in rounds:
            yield {path for _, path in changes}
    except (OSError, RuntimeError) as error:  # its own errors are RuntimeErrors
        raise NativeUnavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    if "limit" in str(error).lower():
        return (
            "The system's limit of watched folders is reached; raise fs.inotify.max_user_watches "
            "(sysctl) and restart."
        )
    if isinstance(error, PermissionError):
        return f"A folder may not be read, give this user the right to: {error}."
    return f"The system does not tell of changes: {str(error).rstrip('.')}."
