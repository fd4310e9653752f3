"""One state of the catalogue, which stays as it is while somebody uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.embeddings.base import TextEmbedder
from lora_manager_core.recommendations.catalogue.entry import Entry

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


class Snapshot:
    """Rows are numbered 0 … n-1 in no order that means anything; see `row_of`.

    Everything that is given per row has `n = len(entries)` of them. Nothing here may be written to.
    """

    entries: Sequence[Entry]
    row_of: Mapping[str, int]
    #: Whose vectors `text_cosines` compares: give it vectors that this embedder made. None: words
    #: are all there is.
    embedder: TextEmbedder | None

    def text_cosines(self, vectors: Floats) -> tuple[Floats, Flags]:
        """Cosines with the texts of all adapters: `(d,)` gives `(n,)`, `(q, d)` gives `(n, q)`.

        The mask `(n,)` says which adapters have a vector of their present text; 0 elsewhere.
        """
        raise NotImplementedError

    def tags_cosines(self, vectors: Floats) -> tuple[Floats, Flags]:
        """The same with their tags."""
        raise NotImplementedError

    def text_matrix(self) -> tuple[Floats, Flags]:
        """All text vectors `(n, d)`, zeros where the mask is False; gathered at the first call."""
        raise NotImplementedError

    def tags_matrix(self) -> tuple[Floats, Flags]:
        """All tags vectors, likewise."""
        raise NotImplementedError

    def sketch_matrix(self) -> tuple[Floats, Flags, Floats]:
        """Weights `(n, 1024)` of norm 1, the mask, and the norms `(n,)` of the whole changes.

        The rows are the 32 × 32 sub-blocks of the sketches; gathered at the first call.
        """
        raise NotImplementedError

    def sketch_cosines(self, row: int) -> tuple[Floats, Flags]:
        """Cosines `(n,)` of one adapter's weights (32 × 32) with all; only where both have any."""
        raise NotImplementedError

    def sketch(self, row: int) -> Floats | None:
        """The whole sketch `(64, 64)` of one adapter, read from the database now."""
        raise NotImplementedError
