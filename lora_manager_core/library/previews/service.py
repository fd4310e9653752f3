"""What shows an adapter: its picture or clip, small copies of it, and another in its place."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.common.files import remove_files, write_whole
from lora_manager_core.common.paths import MODEL_SUFFIXES, require_inside
from lora_manager_core.common.thumbnails import MEDIA_TYPE, ThumbnailFolder
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import AdapterNotFound, Busy, Conflict, NotFound
from lora_manager_core.library.previews.embedded import embedded_picture
from lora_manager_core.library.previews.kinds import CLIPS, MEDIA_TYPES, checked_ending
from lora_manager_core.library.previews.repository import PreviewPaths
from lora_manager_core.library.renewal import RecordRenewal
from lora_manager_core.library.side_files import PREVIEW_ENDINGS
from lora_manager_core.library.walk import find_file

#: Longer side in pixels of the picture inside a model file where no width is asked for.
_WHOLE = 1024
#: After the ending of what is ours: hosts serve every picture below their data folder to whoever
#: asks.
_OURS = ".preview"


@dataclass(frozen=True, slots=True)
class Shown:
    """A file that shows an adapter, and its media type."""

    path: Path
    media_type: str


class PreviewService:
    """Previews of adapters. `folder` holds those that are ours and not beside their model."""

    def __init__(
        self,
        database: Database,
        library_roots: Callable[[], Sequence[Path]],
        folder: Path,
        thumbnails: ThumbnailFolder,
        renewal: RecordRenewal,
    ) -> None:
        self._database = database
        self._library_roots = library_roots
        self._folder = folder
        self._thumbnails = thumbnails
        self._renewal = renewal

    def show(self, adapter_id: str, width: int | None) -> Shown:
        """The preview, or with `width` a WebP of it with that longer side in pixels, made once.

        Clips are given as they are. The picture inside a model file is always given as WebP.

        Raises:
            NotFound: there is none, or it is gone.
            Unprocessable: it cannot be made smaller, see `ThumbnailFolder.get`.
        """
        with self._database.read() as session:
            is_there, preview_path = PreviewPaths(session).find(adapter_id)
        if not is_there:
            raise AdapterNotFound(f"There is no adapter {adapter_id}.")
        path = self._current(preview_path)
        ending = _ending(path)
        if ending in MODEL_SUFFIXES:
            mark = _mark(path)
            small = self._thumbnails.get(
                adapter_id, mark, width or _WHOLE, lambda: BytesIO(embedded_picture(path))
            )
            return Shown(small, MEDIA_TYPE)
        if width is None or ending in CLIPS:
            return Shown(path, MEDIA_TYPES.get(ending, "application/octet-stream"))
        small = self._thumbnails.get(adapter_id, _mark(path), width, lambda: path.open("rb"))
        return Shown(small, MEDIA_TYPE)

    def put(self, adapter_id: str, content: bytes, beside: bool = True) -> dict[str, Any]:
        """Write a preview beside the model; one that was there is kept under another name.

        Not `beside` it: into our folder, and what lies beside the model still comes first.

        Raises:
            WrongMediaType, Unprocessable: see `kinds.checked_ending`.
            UnsafePath: the model lies outside the library folders.
            Busy: a file cannot be written or renamed now.
        """
        ending = checked_ending(content)
        adapter, model, neighbours = self._model(adapter_id)
        if not beside:
            return self._keep(adapter, content, ending)
        target = model.with_name(f"{_stem(model)}.preview{ending}")
        before = [name for key, name in neighbours.items() if _is_proper(model, key)]
        with _busy_if_refused("The preview"):
            kept = _put_away(model, before)
            try:
                write_whole(target, content, model.parent)
            except OSError:
                for old, new in kept:
                    new.rename(old)
                raise
        return self._renew(adapter)

    def remove(self, adapter_id: str) -> dict[str, Any]:
        """Take the preview away: kept under another name beside the model, deleted if it is ours.

        Another picture beside the model may be the preview then.

        Raises:
            NotFound: there is none.
            Conflict: it is inside the model file, which is never changed.
        """
        adapter, model, _ = self._model(adapter_id)
        path = self._current(adapter.preview_path)
        if _ending(path) in MODEL_SUFFIXES:
            raise Conflict("The picture is inside the model file, which is never changed.")
        with _busy_if_refused("The preview"):
            if path.parent == model.parent:
                _put_away(model, [path.name])
            else:
                path.unlink()
                self._point(adapter_id, None)
        return self._renew(adapter)

    def _keep(self, adapter: Adapter, content: bytes, ending: str) -> dict[str, Any]:
        name = f"{adapter.id}-{zlib.crc32(content):08x}{ending}{_OURS}"
        with _busy_if_refused("The preview"):
            write_whole(self._folder / name, content, self._folder / ".unfinished")
        before = [path for path in self._folder.glob(f"{adapter.id}-*") if path.name != name]
        self._point(adapter.id, self._folder / name)
        remove_files(before)
        return self._renew(adapter)

    def _point(self, adapter_id: str, path: Path | None) -> None:
        with self._database.write() as session:
            adapters = AdapterWriter(session)
            adapter = _require(adapters, adapter_id)
            adapter.preview_path = None if path is None else str(path)
            adapters.save(adapter, retag=False)

    def _current(self, preview_path: str | None) -> Path:
        if not preview_path:
            raise NotFound("This adapter has no preview picture.")
        roots = [*self._library_roots(), self._folder]
        path = require_inside(preview_path, roots, "The preview")
        if not path.is_file():
            raise NotFound("The preview picture is gone; scan the library again.")
        return path

    def _model(self, adapter_id: str) -> tuple[Adapter, Path, Mapping[str, str]]:
        """The adapter, its model file, and what lies beside it by name in lower case."""
        with self._database.read() as session:
            adapter = _require(Adapters(session), adapter_id)
        roots = self._library_roots()
        path = require_inside(adapter.file_path, roots, "The model file")
        try:
            return adapter, path, find_file(path, roots).neighbours
        except OSError as error:
            raise NotFound("The model file is gone; scan the library again.") from error

    def _renew(self, adapter: Adapter) -> dict[str, Any]:
        rows = self._renewal.read([adapter.file_path])
        with self._database.write() as session:
            adapters = AdapterWriter(session)
            self._renewal.store(session, [_require(adapters, adapter.id)], rows)
            record = adapters.record(adapter.id)
        self._thumbnails.remove([adapter.id])
        assert record is not None
        return record


def _require(adapters: Adapters, adapter_id: str) -> Adapter:
    adapter = adapters.get(adapter_id)
    if adapter is None:
        raise AdapterNotFound(f"There is no adapter {adapter_id}.")
    return adapter


def _ending(path: Path) -> str:
    """What kind of file it is."""
    return Path(path.stem if path.suffix == _OURS else path.name).suffix.lower()


def _mark(path: Path) -> str:
    """Tells one state of a file from the next."""
    status = path.stat()
    return f"{zlib.crc32(f'{path}|{status.st_size}|{status.st_mtime_ns}'.encode()):08x}"


def _stem(model: Path) -> str:
    return model.name.rpartition(".")[0]


def _is_proper(model: Path, key: str) -> bool:
    """Whether a file beside the model is one of `<stem>.preview.*`, of which the first counts."""
    stem = _stem(model).lower()
    return key.startswith(stem) and key[len(stem) :] in _PROPER


_PROPER = frozenset(ending for ending in PREVIEW_ENDINGS if ending.startswith(".preview."))


def _put_away(model: Path, names: Sequence[str]) -> list[tuple[Path, Path]]:
    """Rename files so that they are no previews any more; gives what was renamed to what."""
    done = []
    for name in names:
        old = model.with_name(name)
        new = next(path for path in _old_names(model, old.suffix) if not path.exists())
        old.rename(new)
        done.append((old, new))
    return done


def _old_names(model: Path, suffix: str) -> Iterator[Path]:
    number = 1
    while True:
        yield model.with_name(f"{_stem(model)}.preview.old{number}{suffix}")
        number += 1


@contextmanager
def _busy_if_refused(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Busy(
            f"{what} cannot be written or renamed: {error.strerror or type(error).__name__}. "
            "Close the program that has it open, or free some space, and try again."
        ) from error
