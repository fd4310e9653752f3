"""The vectors of what people ask: kept, because prompts are asked again with one part changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_manager_core.embeddings.base import TextEmbedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Some 1.5 kB each.
_KEPT = 4096


class QueryVectors:
    """Vectors of texts by any model; any number of threads may ask."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        self._asked = 0
        self._hits = 0

    def hit_rate(self) -> float | None:
        """The share of texts whose vectors were known already; None before the first one."""
        with self._lock:
            return self._hits / self._asked if self._asked else None

    def encode(self, embedder: TextEmbedder, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row per text, `(len(texts), dimensions)`; there has to be one.

        Raises:
            EmbeddingUnavailable: the model cannot be loaded, or ran out of memory.
        """
        import numpy as np

        key = embedder.key
        with self._lock:
            found = {text: self._kept.get((key, text)) for text in texts}
            missing = [text for text, vector in found.items() if vector is None]
            self._asked += len(found)
            self._hits += len(found) - len(missing)
        if missing:
            vectors = embedder.encode(missing)
            found.update(zip(missing, vectors, strict=True))
        with self._lock:
            for text, vector in found.items():
                if vector is not None:
                    self._kept[key, text] = vector
                    self._kept.move_to_end((key, text))
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return np.stack([vector for text in texts if (vector := found[text]) is not None])
