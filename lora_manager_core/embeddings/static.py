"""Vectors of single words, distilled from the sentence model: quick, small, and without torch.

Each token of the vocabulary is encoded by itself; the common component is removed, directions that
tell little are dropped, and frequent tokens count less. A text is the mean of its tokens. After
Model2Vec (Tulkens and van Dongen 2024, https://github.com/MinishLab/model2vec), whose weights are
the smooth inverse frequencies of Arora, Liang and Ma (ICLR 2017) with Zipf's law for frequencies.
"""

from __future__ import annotations

import importlib.util
import io
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zipfile import BadZipFile

from lora_manager_core.common.files import write_whole
from lora_manager_core.embeddings.base import EmbedderState, TextEmbedder
from lora_manager_core.embeddings.text import TEMPLATE_VERSION
from lora_manager_core.errors import EmbeddingUnavailable, ExtraNotInstalled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Raised when the way of distilling changes.
_VERSION = 1
_DIMENSIONS = 256
#: `a` of the smooth inverse frequency a / (a + p).
_SIF = 1e-4
#: A vocabulary beyond this would take an hour on a slow machine.
_MOST_TOKENS = 120_000
_TOKENS_AT_ONCE = 256
#: Tokens of a text that count.
_MOST_READ = 512


class TokenModel(Protocol):
    """What a static model is distilled from."""

    @property
    def fingerprint(self) -> str | None:
        """Which model it is."""

    def tokenizer_json(self) -> bytes | None:
        """Its tokenizer, as the `tokenizers` library reads it."""


class StaticEmbedder(TextEmbedder):
    """The distilled vectors of one model, in a file of `folder` named after that model.

    The file is a .npz without pickles: `rows` (tokens × 256, float16, weighted), `tokenizer` (the
    bytes of its JSON).
    """

    mode = "static"
    label = "vectors of words"

    def __init__(self, folder: Path, model: TokenModel) -> None:
        self._folder = folder
        self._model = model
        self._lock = threading.Lock()
        self._loaded: tuple[str, NDArray[np.float16], Any] | None = None
        self._failure: str | None = None

    @property
    def file(self) -> Path | None:
        """Where the vectors of that model lie or will lie.

        Where the model itself is gone, those that were made of it serve on.
        """
        try:
            fingerprint = self._model.fingerprint
        except (EmbeddingUnavailable, ImportError):
            fingerprint = None
        if fingerprint is not None:
            return self._folder / f"static{_VERSION}-{fingerprint}.npz"
        return next(iter(sorted(self._folder.glob(f"static{_VERSION}-*.npz"))), None)

    def state(self) -> EmbedderState:
        """How far it is; loads nothing and never waits."""
        loaded = self._loaded
        if loaded is not None:
            return EmbedderState("ready", memory_bytes=loaded[1].nbytes)
        if self._failure is not None:
            return EmbedderState("failed", self._failure)
        if importlib.util.find_spec("tokenizers") is None:
            return EmbedderState("absent", "tokenizers is not installed.")
        file = self.file
        if file is None or not file.is_file():
            problem = "It is made of the text model, once that has embedded the library."
            return EmbedderState("absent", problem)
        return EmbedderState("idle")

    def load(self) -> None:
        """Read the file, in a tenth of a second.

        Raises:
            ExtraNotInstalled: `tokenizers` is missing.
            EmbeddingUnavailable: there is no such file, or it cannot be read.
        """
        self._ready()

    def unload(self) -> None:
        """Give its memory back, and forget a failed try."""
        with self._lock:
            self._loaded = self._failure = None

    @property
    def key(self) -> str:
        """Model and version of distilling, cleaning and template."""
        file = self.file
        return f"{file.stem if file else 'static'}:t{TEMPLATE_VERSION}"

    @property
    def dimensions(self) -> int:
        """How long its vectors are; loads it if need be."""
        return int(self._ready()[1].shape[1])

    def encode(
        self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        """The normalised sum of the weighted token vectors of each text; some 50 µs a text."""
        import numpy as np

        _, rows, tokenizer = self._ready()
        found = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        vectors = np.zeros((len(texts), rows.shape[1]), np.float32)
        for index, encoding in enumerate(found):
            ids = encoding.ids[:_MOST_READ]
            if ids:
                vectors[index] = rows[ids].astype(np.float32).sum(axis=0)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.where(norms > 0, norms, 1)
        return unit

    def _ready(self) -> tuple[str, NDArray[np.float16], Any]:
        loaded = self._loaded
        if loaded is None:
            with self._lock:
                loaded = self._loaded = self._loaded or self._read()
        return loaded

    def _read(self) -> tuple[str, NDArray[np.float16], Any]:
        import numpy as np

        if self._failure is not None:
            raise EmbeddingUnavailable(self._failure)
        file = self.file
        try:
            from tokenizers import Tokenizer

            if file is None:
                raise FileNotFoundError(0, "it was not made yet")
            # opened here, because numpy leaves a damaged file open
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                rows = stored["rows"]
                tokenizer = Tokenizer.from_str(stored["tokenizer"].tobytes().decode())
        except ImportError as error:
            raise ExtraNotInstalled("tokenizers is not installed.") from error
        except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
            self._failure = (
                f"The word vectors in {file} cannot be read: {error}. Delete the file; it is made "
                "anew after the next embedding."
            )
            raise EmbeddingUnavailable(self._failure) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return file.stem, rows, tokenizer


def distil(
    static: StaticEmbedder,
    model: TokenModel,
    encode: Callable[[Sequence[str]], NDArray[np.float32]],
    report: Callable[[float], None],
) -> bool:
    """Make the static model's file from the sentence model; False if that cannot be.

    `encode` takes its turn and gives unit vectors; it is called for 256 tokens at a time. `report`
    is told the fraction done before each. Raises what these raise, and OSError if the file cannot
    be written.
    """
    import numpy as np
    from tokenizers import Tokenizer

    tokenizer_json, file = model.tokenizer_json(), static.file
    if tokenizer_json is None or file is None:
        return False
    tokenizer = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if size > _MOST_TOKENS:
        return False
    added = set(tokenizer.get_added_tokens_decoder())
    ids = [i for i in range(size) if i not in added and _is_word(tokenizer.id_to_token(i))]
    vectors = []
    for start in range(0, len(ids), _TOKENS_AT_ONCE):
        report(start / len(ids))
        batch = ids[start : start + _TOKENS_AT_ONCE]
        vectors.append(encode([_shown(tokenizer, i) for i in batch]))
    rows = _without_common(np.concatenate(vectors))
    # a vocabulary is ordered by frequency, so that a rank is as good as a count
    chance = 1.0 / np.arange(2, len(ids) + 2)
    chance /= chance.sum()
    rows *= (_SIF / (_SIF + chance))[:, None]
    whole = np.zeros((size, rows.shape[1]), np.float16)
    whole[ids] = rows / np.abs(rows).max()
    content = io.BytesIO()
    np.savez(content, rows=whole, tokenizer=np.frombuffer(tokenizer_json, np.uint8))
    static.unload()
    write_whole(file, content.getvalue(), file.parent / "unfinished")
    return True


def _shown(tokenizer: Any, token_id: int) -> str:
    """A token as a text of its own; `##` in front of it says that it goes on a word."""
    token = str(tokenizer.id_to_token(token_id))
    return (str(tokenizer.decode([token_id])).removeprefix("##") or token).strip() or token


def _is_word(token: str | None) -> bool:
    return token is not None and not (token.startswith("[") and token.endswith("]"))


def _without_common(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centred, and turned into the directions of most variance."""
    import numpy as np

    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    turned: NDArray[np.float32] = centred @ directions[:, ::-1][:, :_DIMENSIONS]
    return turned
