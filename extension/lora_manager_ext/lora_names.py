"""Which NAME in a prompt makes SD.Next load one certain file: its registry is asked, not guessed.

After the host's `modules/lora/lora_load.py`. Files of one base name hide each other there, and
each rescan lets threads decide anew which one wins, so a name that two files could claim is passed
over for one that only this file has.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lora_manager_core.backends.base import PromptName
from lora_manager_core.common.lora_tokens import unwritable_characters

#: What the host takes for a LoRA file.
_ENDINGS = (".safetensors", ".pt", ".ckpt")


#: Name in a prompt → `NetworkOnDisk`, of which `name` and `filename` are used.
Registry = dict[str, Any]


class LoraNames:
    """Looks names up in `aliases`, the host's own live dictionary; `refresh` has it read anew."""

    def __init__(
        self,
        aliases: Callable[[], Registry],
        lora_dir: Callable[[], Path],
        refresh: Callable[[], None],
    ) -> None:
        self._aliases = aliases
        self._lora_dir = lora_dir
        self._refresh = refresh
        self._rivals = _Rivals()
        self._searched: set[tuple[str, int]] = set()

    def resolve(self, files: Sequence[Path]) -> dict[Path, PromptName]:
        """For each file what resolves to it, or what is wrong."""
        found = {file: self._resolve(file) for file in files}
        unlisted = [file for file, name in found.items() if name is None and self._is_news(file)]
        if unlisted:
            self._refresh()
            found.update({file: self._resolve(file) for file in unlisted})
        return {file: name or _last_resort(file) for file, name in found.items()}

    def is_alone(self, file: Path) -> bool:
        """Whether the host has the file, and no other whose name it takes for the same."""
        entry_name = file.stem.replace(".", "_")
        entry = self._aliases().get(entry_name)
        return (
            entry is not None
            and _same_file(entry.filename, file)
            and not self._is_contested(file, entry_name, self._aliases())
        )

    def file_of(self, name: str) -> str:
        """The file a name stands for, as a comparison key; the name itself if it is nobody's."""
        entry = self._aliases().get(name)
        path = entry.filename if entry else name if name.startswith("/") else None
        return os.path.realpath(path) if path else name

    def _resolve(self, file: Path) -> PromptName | None:
        """A name out of the registry; None if there is none that is this file's own."""
        aliases = self._aliases()
        stem = file.stem
        entry_name = stem.replace(".", "_")
        short = [name for name in dict.fromkeys((entry_name, stem)) if not _unwritable(name)]
        full = self._full_name(file)
        if self._is_contested(file, entry_name, aliases):
            # the short names are anybody's, the path below the folder is this file's alone
            short = []
        names = [*short, *([full] if full and full != stem and not _unwritable(full) else [])]
        for name in names:
            entry = aliases.get(name)
            if entry is not None and _same_file(entry.filename, file):
                return PromptName(name)
        return None

    def _full_name(self, file: Path) -> str | None:
        try:
            below = file.relative_to(self._lora_dir())
        except ValueError:
            return None
        return below.with_suffix("").as_posix()

    def _is_contested(self, file: Path, entry_name: str, aliases: Registry) -> bool:
        rivals = self._rivals.of(aliases, self._lora_dir(), entry_name)
        return any(not _same_file(rival, file) for rival in rivals)

    def _is_news(self, file: Path) -> bool:
        """Whether the registry may only be behind: asked once for each state of a file."""
        try:
            state = (str(file), file.stat().st_mtime_ns)
        except OSError:
            return False
        if state in self._searched or self._full_name(file) is None:
            return False
        self._searched.add(state)
        return True


class _Rivals:
    """Entry name → files that would carry it; looked up on the disk anew when the registry was.

    The registry itself does not tell: unless the host's folder is absolute, hidden files are in it
    under no name at all.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, object, object] | None = None
        self._files: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def of(self, aliases: Registry, lora_dir: Path, entry_name: str) -> list[str]:
        # a rescan makes new entry objects, so the ends of the list tell one state from another
        values = aliases.values()
        seen = (len(values), next(iter(values), None), next(reversed(values), None))
        if not seen[0]:
            return []
        with self._lock:
            if self._seen is None or not _same_state(self._seen, seen):
                self._files, self._seen = _files_by_entry_name(lora_dir), seen
            return self._files.get(entry_name, [])


def _files_by_entry_name(lora_dir: Path) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    been: set[str] = set()
    for folder, folders, names in os.walk(lora_dir, followlinks=True):
        real = os.path.realpath(folder)
        if real in been:  # a link that leads back
            folders.clear()
            continue
        been.add(real)
        for name in names:
            stem, ending = os.path.splitext(name)  # noqa: PTH122 - ten thousand of them
            if ending.lower() in _ENDINGS:
                path = os.path.join(folder, name)  # noqa: PTH118 - as above
                files.setdefault(stem.replace(".", "_"), []).append(path)
    return files


def _same_state(a: tuple[int, object, object], b: tuple[int, object, object]) -> bool:
    return a[0] == b[0] and a[1] is b[1] and a[2] is b[2]


def _last_resort(file: Path) -> PromptName:
    """The absolute path, which the host loads where it starts with `/`; else what to do."""
    path = str(file)
    if not file.is_file():
        return PromptName(None, f"{path} is not there; put the file back or scan the library.")
    if path.startswith("/") and not _unwritable(path):
        return PromptName(path)
    found = unwritable_characters(file.stem)
    if found:
        return PromptName(
            None,
            f"A prompt cannot hold the name of {file.name!r}, because of {' '.join(found)}. "
            "Rename the file.",
        )
    return PromptName(
        None,
        f"Another file has the same name as {file.name}, and SD.Next may load either. Rename one "
        "of them, or start SD.Next with an absolute --lora-dir.",
    )


def _unwritable(name: str) -> bool:
    return bool(unwritable_characters(name))


def _same_file(a: str, b: Path) -> bool:
    if a == str(b):
        return True
    try:
        return b.samefile(a)
    except OSError:
        return False
