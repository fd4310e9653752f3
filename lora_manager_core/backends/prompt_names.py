"""SD.Next's naming rule, computed outside it: which NAME in a prompt means which LoRA file.

After the host's `modules/lora/lora_load.py` (`list_available_networks`) and `network.py`
(`NetworkOnDisk.fullname`). Each file answers to its base name with `.` turned into `_`, to its
path below the LoRA folder, and to its plain base name. Where two files share a form, threads decide
which one wins, so only a form that one single file has is given out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath, PureWindowsPath
from typing import TypeVar

from lora_manager_core.backends.base import PromptName
from lora_manager_core.common.lora_tokens import unwritable_characters

AnyPath = TypeVar("AnyPath", bound=PurePath)


def sdnext_prompt_names(
    files: Sequence[AnyPath], lora_dir: AnyPath | None
) -> dict[AnyPath, PromptName]:
    """For each file the NAME that resolves to it and to no other of `files`, or what is wrong.

    `lora_dir` is the host's absolute LoRA folder, None when it is not known; then files of one
    base name cannot be told apart. `files` must be all there are: one left out may share a name.
    Costs a few microseconds a file and never touches the disk.
    """
    root = _Root(lora_dir)
    files = list(dict.fromkeys(files))
    forms = [root.forms(str(file)) for file in files]
    claims: dict[str, int] = {}
    for own in forms:
        for form in own:
            claims[form] = claims.get(form, 0) + 1
    unwritable = _unwritable(claims)
    names: dict[AnyPath, PromptName] = {}
    for file, own in zip(files, forms, strict=True):
        for form in own:
            if claims[form] == 1 and form not in unwritable:
                names[file] = PromptName(form)
                break
        else:
            names[file] = PromptName(None, _problem(file, own, claims, lora_dir))
    return names


def _unwritable(forms: Collection[str]) -> set[str]:
    """Those a prompt cannot hold; one look at all of them at once, as there are hardly ever any."""
    if not unwritable_characters("".join(forms)):
        return set()
    return {form for form in forms if unwritable_characters(form)}


class _Root:
    """The host's LoRA folder as text, cut to fit: paths as strings, ten times as fast as `Path`."""

    def __init__(self, lora_dir: PurePath | None) -> None:
        self._known = lora_dir is not None
        self._windows = isinstance(lora_dir, PureWindowsPath)
        self._text = str(lora_dir).replace("\\", "/").rstrip("/") + "/"
        if self._windows:
            self._text = self._text.casefold()

    def forms(self, file: str) -> tuple[str, ...]:
        """Every name the file answers to, the one to prefer first; none if it lies elsewhere."""
        text = file.replace("\\", "/")
        slash, dot = text.rfind("/"), text.rfind(".")
        path = text[:dot] if dot > slash + 1 else text
        stem = path[slash + 1 :]
        forms = (stem.replace(".", "_"), stem) if "." in stem else (stem,)
        if not self._known:
            return forms
        # the drive letter's case differs at will; the part below the folder stays exact
        start = text[: len(self._text)]
        if (start.casefold() if self._windows else start) != self._text:
            return ()
        full_name = path[len(self._text) :]
        return forms if full_name == stem else (*forms, full_name)


def _problem(
    file: PurePath, forms: Sequence[str], claims: Mapping[str, int], lora_dir: PurePath | None
) -> str:
    if not forms:
        return (
            f"{file.name} lies outside SD.Next's LoRA folder ({lora_dir}), where SD.Next does not "
            "look. Move it there, or make that folder the library folder."
        )
    unique = [form for form in forms if claims[form] == 1]
    if unique:
        found = dict.fromkeys(unwritable_characters("".join(unique)))
        shown = " ".join("line break" if character in "\r\n" else character for character in found)
        return (
            f"A prompt cannot hold the name of {file.name!r}, because of {shown}. Rename the file "
            "or its folder without : < > = and line breaks."
        )
    where = "" if lora_dir is not None else " and SD.Next's LoRA folder is not known"
    return (
        f"Another file has the same name as {file.name}{where}, so SD.Next may load either. "
        "Rename one of them."
    )
