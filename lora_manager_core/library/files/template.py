"""Templates such as `{base_model}/{author}/{name}`: where a file belongs by what it is."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from lora_manager_core.errors import Unprocessable
from lora_manager_core.library.files.names import safe_file_name, safe_folder

FIELDS = ("base_model", "author", "name", "file", "version", "network_type", "tag")
#: What stands for a field of which nothing is known.
UNKNOWN = "unknown"
_MAX_PARTS = 12


class PlaceTemplate:
    """A relative path with fields; the last part is the name of the file, without its ending.

    Raises:
        Unprocessable: it is no such path, or has a field that there is not.
    """

    def __init__(self, text: str) -> None:
        self._parts = text.split("/")
        if "\\" in text or not all(self._parts) or len(self._parts) > _MAX_PARTS:
            raise Unprocessable(
                "A template is a relative path of up to 12 parts with `/` between them, such as "
                "`{base_model}/{author}/{name}`."
            )
        if any(not part.strip(". ") for part in self._parts):
            raise Unprocessable("No part of a template may be dots or blanks only.")
        for part in self._parts:
            _check(part)

    def place(self, values: Mapping[str, str | None], suffix: str) -> tuple[str, str]:
        """The folder (`/` between its parts, may be "") and the name of a file of that ending.

        Both are safe on every system, whatever the values are.
        """
        filled = {field: (values.get(field) or "").strip() or UNKNOWN for field in FIELDS}
        *folders, name = (_one_part(part.format_map(filled)) for part in self._parts)
        folder = safe_folder("/".join(folders))
        stem = "_" + name[1:] if name.startswith(".") else name
        return folder, safe_file_name(f"{stem}{suffix}")


def _check(part: str) -> None:
    try:
        pieces = list(Formatter().parse(part))
    except ValueError as error:
        raise Unprocessable(
            "A brace of the template is not closed; fields look like `{name}`."
        ) from error
    for _, field, form, conversion in pieces:
        if field is not None and (field not in FIELDS or form or conversion):
            raise Unprocessable(f"There is no field `{{{field}}}`; those are: {', '.join(FIELDS)}.")


def _one_part(text: str) -> str:
    """A value may hold slashes; a part of a path does not."""
    return safe_folder(text.replace("/", "_").replace("\\", "_")) or UNKNOWN
