"""Names of files: which are safe on every system, and how any text becomes one that is.

A name is judged for all systems at once: what is harmless on Linux and leads elsewhere on Windows
is unsafe on both.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from lora_manager_core.common.paths import MODEL_SUFFIXES
from lora_manager_core.library.side_files import PREVIEW_ENDINGS, SOURCES

#: What most systems allow.
MAX_PART_BYTES = 255
MAX_PATH_LENGTH = 1000

# Every ending fits behind such a stem, so that a model and its side files are cut alike.
_MAX_STEM_BYTES = 240
_MAX_ENDING_BYTES = MAX_PART_BYTES - _MAX_STEM_BYTES
_MARK_BYTES = 9
_MAX_FOLDER_LENGTH = 700
_ENDINGS = tuple(
    sorted(
        (*MODEL_SUFFIXES, *(ending for ending, _ in SOURCES), *PREVIEW_ENDINGS),
        key=len,
        reverse=True,
    )
)
_FORBIDDEN = frozenset('<>"|?*:\\/')
_FORBIDDEN_ANYWHERE = re.compile(r'[<>"|?*:]')
_DRIVE = re.compile(r"[A-Za-z]:")
#: Devices of Windows, whatever their ending; `NFKC` makes COM¹ of the same kind.
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", "conin$", "conout$")
    + tuple(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))
)
#: Control and format characters (bidi, zero width), lone surrogates, line and paragraph ends.
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def shown(name: str) -> str:
    """A name from outside as it can stand in a message: short, nothing invisible in it."""
    plain = name[:200]
    if not (plain.isascii() and plain.isprintable()):
        plain = "".join("�" if _is_invisible(c) else c for c in plain)
    return plain if len(plain) <= 120 else plain[:119] + "…"


def safe_file_name(name: str) -> str:
    """`name` as a file name that is safe on every system; the same for the same name, always.

    A safe name stays as it is. Names that differ in their ending only stay so, which keeps side
    files with their model.
    """
    cleaned = _clean(name)
    stem, ending = _split(cleaned)
    return (_whole(stem) + _cut(ending, _MAX_ENDING_BYTES)).rstrip(". ") or "_"


def safe_folder(folder: str) -> str:
    """A relative folder, `/` between its parts, each safe as a folder's name; may be ""."""
    parts: list[str] = []
    for part in folder.replace("\\", "/").split("/"):
        if part in ("", "."):
            continue
        name = _whole(_clean(part))
        # Scans pass over folders that begin with a dot.
        parts.append("_" + name[1:] if name.startswith(".") else name)
        if len("/".join(parts)) > _MAX_FOLDER_LENGTH:
            parts.pop()
            break
    return "/".join(parts)


def why_unsafe(raw: str) -> str | None:
    """Why a relative path, `/` between its parts, is not safe on every system.

    As the end of a sentence; None if it is. One `/` may end it (a folder).
    """
    if not raw or raw == "/":
        return "has no name"
    if len(raw) > MAX_PATH_LENGTH:
        return f"has a name of over {MAX_PATH_LENGTH} characters"
    # Of plain names there may be a million; they need no look at each character.
    ascii_only = raw.isascii()
    if not raw.isprintable() if ascii_only else any(map(_is_invisible, raw)):
        return "has control, invisible or broken characters in its name"
    plain = raw if ascii_only else unicodedata.normalize("NFKC", raw)
    if "\\" in raw or "\\" in plain:
        return "has a backslash in its name"
    if raw.startswith("/"):
        return "has an absolute path"
    if _DRIVE.match(plain):
        return "has a path with a drive letter"
    if plain.count("/") != raw.count("/"):
        return "has a character in its name that stands for a slash"
    if _FORBIDDEN_ANYWHERE.search(raw):
        return 'has one of the characters < > " | ? * : in its name'
    for part in raw.removesuffix("/").split("/"):
        why = _why_unsafe_part(part)
        if why:
            return why
    return None


def _why_unsafe_part(part: str) -> str | None:
    plain = part if part.isascii() else unicodedata.normalize("NFKC", part)
    if not part:
        return "has an empty part in its path"
    if not plain.strip(". "):
        return "leads to another folder, or has a part of dots or spaces only"
    if part[-1] in ". ":
        return "has a part that ends with a dot or a space"
    if _is_reserved(plain):
        return "has a name that Windows reserves for devices"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"has a part of over {MAX_PART_BYTES} bytes in its path"
    return None


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE


def _is_reserved(plain: str) -> bool:
    return plain.partition(".")[0].strip().lower() in _RESERVED


def _clean(name: str) -> str:
    """Without what no name may hold; not empty, neither dots nor a space at its end."""
    if not (name.isascii() and name.isprintable() and _FORBIDDEN.isdisjoint(name)):
        name = "".join("_" if _is_unsafe(c) else c for c in name)
    kept = name.rstrip(". ")
    plain = unicodedata.normalize("NFKC", kept)
    if not plain.strip(". "):
        return "_"
    if _DRIVE.match(plain):
        return f"{kept[0]}_{kept[2:]}"
    return f"_{kept}" if _is_reserved(plain) else kept


def _is_unsafe(character: str) -> bool:
    if character in _FORBIDDEN or _is_invisible(character):
        return True
    plain = unicodedata.normalize("NFKC", character)
    return "/" in plain or "\\" in plain


def _split(name: str) -> tuple[str, str]:
    """Stem and ending; of known endings the longest counts, `.preview.png` for example."""
    lower = name.lower()
    for ending in _ENDINGS:
        if lower.endswith(ending) and len(lower) == len(name) and len(name) > len(ending):
            return name[: -len(ending)], name[-len(ending) :]
    stem, dot, last = name.rpartition(".")
    return (stem, dot + last) if stem else (name, "")


def _whole(stem: str) -> str:
    """The stem; one that is too long is cut, with a mark that tells it from its like."""
    if len(stem.encode()) <= _MAX_STEM_BYTES:
        return stem
    mark = hashlib.sha256(stem.encode()).hexdigest()[: _MARK_BYTES - 1]
    return f"{_cut(stem, _MAX_STEM_BYTES - _MARK_BYTES)}~{mark}"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
