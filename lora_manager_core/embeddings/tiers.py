"""Which text model answers now, and how the better one is fetched without anybody waiting.

From the least to the best: no model (words alone), vectors of single words distilled from the
model, the model itself. The one below answers while the one above loads.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from lora_manager_core.embeddings.base import EmbedderState, Mode, TextEmbedder
from lora_manager_core.errors import LoraManagerError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tier:
    """One model as it is now."""

    mode: Mode
    model: str
    state: EmbedderState


class TextTiers:
    """The text models of one process. `semantic` makes the vectors that are stored; `static`
    answers until it is there. Either may be None, as for tests."""

    def __init__(self, semantic: TextEmbedder | None, static: TextEmbedder | None = None) -> None:
        self._semantic = semantic
        self._static = static
        self._lock = threading.Lock()
        self._loader: threading.Thread | None = None
        self._closed = False

    def best(self) -> TextEmbedder | None:
        """The best model that is ready now; None: words alone.

        Never waits. If a better one could be had, a thread begins to load it.
        """
        for embedder in (self._semantic, self._static):
            if embedder is None:
                continue
            status = embedder.state().status
            if status == "ready":
                return embedder
            if status == "idle":
                self._begin_loading()
        return None

    def wanted(self) -> TextEmbedder | None:
        """The model whose vectors are stored; None where its libraries are not installed."""
        if self._semantic is None or self._semantic.state().status == "absent":
            return None
        return self._semantic

    def mode(self) -> Mode:
        """How a query would be answered now; loads nothing."""
        for embedder in (self._semantic, self._static):
            if embedder is not None and embedder.state().status == "ready":
                return embedder.mode
        return "lexical"

    def hint(self) -> str | None:
        """What to do, or to wait for, to get better answers; None: they are the best there are."""
        if self._semantic is None:
            return None
        state = self._semantic.state()
        if state.status == "ready":
            return None
        if state.status in ("idle", "loading"):
            return "The text model is being loaded; ask again in some seconds for better answers."
        return state.problem

    def states(self) -> list[Tier]:
        """Every model, the best first."""
        return [
            Tier(embedder.mode, embedder.label, embedder.state())
            for embedder in (self._semantic, self._static)
            if embedder is not None
        ]

    def retry(self) -> None:
        """Forget failed tries, because somebody asks for it or has repaired something."""
        for embedder in (self._semantic, self._static):
            if embedder is not None and embedder.state().status == "failed":
                embedder.unload()

    def close(self) -> None:
        """Give all memory back; nothing is loaded any more."""
        with self._lock:
            self._closed, loader = True, self._loader
        if loader is not None:
            loader.join(timeout=5.0)
        for embedder in (self._semantic, self._static):
            # what is loading still would keep us waiting, and ends with the process
            if embedder is not None and embedder.state().status != "loading":
                embedder.unload()

    def _begin_loading(self) -> None:
        with self._lock:
            if self._closed or (self._loader is not None and self._loader.is_alive()):
                return
            self._loader = threading.Thread(target=self._load, name="text-models", daemon=True)
            self._loader.start()

    def _load(self) -> None:
        """The quick one first, so that it answers while the other loads."""
        for embedder in (self._static, self._semantic):
            if embedder is None or self._closed or embedder.state().status != "idle":
                continue
            try:
                embedder.load()
            except LoraManagerError as error:
                _log.warning("a text model is not used: %s", error.detail)
