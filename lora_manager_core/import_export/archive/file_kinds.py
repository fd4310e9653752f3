"""Which files of an archive belong to an adapter, by their names; everything else stays outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from lora_manager_core.common.paths import MODEL_SUFFIXES
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import FileKind
from lora_manager_core.library.files.names import shown
from lora_manager_core.library.side_files import PREVIEW_ENDINGS

#: What programs leave beside a model; texts, nothing that is ever run.
_SIDE_SUFFIXES = (".json", ".info", ".txt", ".yaml", ".yml", ".toml", ".md")
_ARCHIVE_SUFFIXES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
_SAFE_MODEL = ".safetensors"


def kind_of(name: str) -> FileKind | None:
    """What a file of this name can be; None for one that nothing is done with."""
    lower = name.lower()
    if lower.endswith(MODEL_SUFFIXES):
        return "model"
    if lower.endswith(PREVIEW_ENDINGS):
        return "preview"
    return "side" if lower.endswith(_SIDE_SUFFIXES) else None


def why_ignored(name: str) -> str:
    """Why nothing is done with a file of no kind, for people."""
    if is_archive(name):
        return "An archive inside an archive is not opened."
    return "It is neither a model file nor something that belongs to one."


def is_archive(name: str) -> bool:
    """Whether a name is that of an archive."""
    return name.lower().endswith(_ARCHIVE_SUFFIXES)


def refuse_pickles(names: Iterable[str], allow_pickles: bool) -> None:
    """Refuse model files that could run something when they are loaded, unless that is accepted.

    Raises:
        ArchiveRefused: there are some; names the first and the option.
    """
    if allow_pickles:
        return
    for name in names:
        if kind_of(name) == "model" and not name.lower().endswith(_SAFE_MODEL):
            raise ArchiveRefused(
                f"The archive is refused: “{shown(name)}” is no safetensors file. Files of its "
                "kind can run programs when they are loaded; if you trust it, import it with "
                "`allow_pickles`."
            )


def owner_of(name: str, models: Mapping[str, str]) -> str | None:
    """The model that a file beside it is named after: `models` is stem without case → model.

    As in a scan, `a.b.json` belongs to `a.b` rather than to `a`.
    """
    stem = name.lower()
    while "." in stem:
        stem = stem.rpartition(".")[0]
        if stem in models:
            return models[stem]
    return None


def stem_of(model_name: str) -> str:
    """A model's name without its ending and without case."""
    return PurePosixPath(model_name.lower()).stem
