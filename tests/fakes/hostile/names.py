"""Names that lead elsewhere, in archives of every maker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from lora_manager_core.import_export.archive.format import (
    MANIFEST,
)
from tests.fakes.hostile.base import EVIL, Hostile, of, raw
from tests.fakes.raw_zip import RawMember, raw_zip
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    dump,
    lora_api_members,
    model,
    own_members,
    sealed,
)

#: Names that lead elsewhere, or that some system would take for another.
TRAVERSALS: Mapping[str, tuple[str, str]] = {
    "parent": (f"../{EVIL}.safetensors", "leads to another folder"),
    "many parents": ("../" * 12 + f"tmp/{EVIL}.safetensors", "leads to another folder"),
    "parent inside": (f"a/../../{EVIL}.safetensors", "leads to another folder"),
    "here": (f"./{EVIL}.safetensors", "leads to another folder"),
    "absolute": (f"/tmp/{EVIL}.safetensors", "absolute"),
    "two slashes": (f"//tmp/{EVIL}.safetensors", "absolute"),
    "empty part": (f"a//{EVIL}.safetensors", "empty part"),
    "backslashes": (f"..\\..\\{EVIL}.safetensors", "backslash"),
    "drive": (f"C:/{EVIL}.safetensors", "drive letter"),
    "drive and backslash": (f"C:\\{EVIL}.safetensors", "backslash"),
    "drive of its folder": (f"c:{EVIL}.safetensors", "drive letter"),
    "UNC": (f"\\\\server\\share\\{EVIL}.safetensors", "backslash"),
    "long path of Windows": (f"\\\\?\\C:\\{EVIL}.safetensors", "backslash"),
    "NUL": (f"a.safetensors\0/../{EVIL}", "control"),
    "line break": (f"a\n{EVIL}.safetensors", "control"),
    "stream of NTFS": (f"a.safetensors:{EVIL}.safetensors", "characters"),
    "wildcard": (f"*{EVIL}.safetensors", "characters"),
    "fullwidth dots": (f"．．/{EVIL}.safetensors", "leads to another folder"),
    "two dot leader": (f"‥/{EVIL}.safetensors", "leads to another folder"),
    "fullwidth slash": (f"..／{EVIL}.safetensors", "stands for a slash"),
    "fullwidth backslash": (f"..＼{EVIL}.safetensors", "backslash"),
    "bidi override": (f"a\u202e{EVIL}.safetensors", "invisible"),
    "zero width": (f".\u200b./{EVIL}.safetensors", "invisible"),
    "device": ("nul.safetensors", "reserves"),
    "device in a folder": ("aux/a.safetensors", "reserves"),
    "device in superscript": ("com¹.safetensors", "reserves"),
    "trailing dot": (f"a./{EVIL}.safetensors", "ends with a dot"),
    "trailing space": (f"{EVIL}.safetensors ", "ends with a dot or a space"),
    "long part": ("x" * 250 + ".safetensors", "bytes in its path"),
    "long path": ("x/" * 600 + "a.safetensors", "characters"),
}


def traversals() -> Iterator[Hostile]:
    """Every name that leads elsewhere, in archives of every maker."""
    for name, (evil, reason) in TRAVERSALS.items():
        yield of(f"folder: {name}", raw({"good.safetensors": model(), evil: model(1)}), reason)
        own = own_members()
        own[evil] = model(1)
        yield of(f"own: {name}", raw(sealed(own)), reason)
        below = f"adapters/{ADAPTER_ID}/files/{evil}"
        api = lora_api_members()
        manifest = json.loads(api[MANIFEST])
        manifest["adapters"][0]["files"][0]["archive_path"] = below
        api[MANIFEST] = dump(manifest)
        api[below] = api.pop(f"adapters/{ADAPTER_ID}/files/0_ink.safetensors")
        if name not in ("here", "absolute", "two slashes", "drive", "drive of its folder"):
            yield of(f"lora-api: {name}", raw(api), reason)
    yield of(
        "folder: name that is no UTF-8",
        raw_zip([RawMember(b"a\xff\xfe.safetensors", model())]),
        "not valid UTF-8",
    )
    yield of(
        "folder: surrogate", raw_zip([RawMember("a\udcff.safetensors", model())]), "not valid UTF-8"
    )
    yield of("folder: no name", raw_zip([RawMember("", model())]), "no name")
