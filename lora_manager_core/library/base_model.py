"""Decides the base model of an adapter from its structure, its metadata, side files and names.

Structure beats metadata, metadata beats side files and names; a contradiction between the first two
is said (`conflict`). The families of SDXL share its tensors, so only names can tell them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_manager_core.common.base_labels import (
    ARCHITECTURES,
    SDXL_FAMILIES,
    architecture_of,
    compatible,
    narrower,
    normalise_label,
)
from lora_manager_core.library.network_type import Layout
from lora_manager_core.library.structure import Finding, structure_of

__all__ = [
    "ARCHITECTURES",
    "BaseModel",
    "architecture_of",
    "base_model_of",
    "compatible",
    "normalise_label",
]


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base label, where it came from and how sure that is (0..1).

    `source` is structure, metadata, name, side file or conflict; label and source are None, and the
    confidence is 0, when nothing tells. With `conflict` the label is what the structure says.
    """

    label: str | None
    source: str | None
    confidence: float


UNKNOWN = BaseModel(None, None, 0.0)

# Families of SDXL inside checkpoint names ("waiNSFWIllustrious_v110"); first hit wins: NoobAI grew
# out of Illustrious and often carries both names.
_FAMILY_MARKS = (
    ("noobai", "NoobAI"), ("noob_", "NoobAI"), ("illustrious", "Illustrious"),
    ("ilxl", "Illustrious"), ("animagine", "Animagine"), ("pony", "Pony"), ("pdxl", "Pony"),
)  # fmt: skip

# Whole words of file and folder names. Words of everyday use (chroma, lumina, krea) are left out.
_NAME_WORDS = {
    "sd15": "SD 1.5", "sd14": "SD 1.5", "sd1": "SD 1.5",
    "sd21": "SD 2.x", "sd20": "SD 2.x", "sd2": "SD 2.x",
    "sdxl": "SDXL", "xl": "SDXL", "sdxl1": "SDXL",
    "pony": "Pony", "ponyxl": "Pony", "pdxl": "Pony", "ponyv6": "Pony",
    "illustrious": "Illustrious", "illustriousxl": "Illustrious", "ilxl": "Illustrious",
    "noobai": "NoobAI", "noob": "NoobAI", "noobaixl": "NoobAI",
    "animagine": "Animagine", "animaginexl": "Animagine",
    "sd3": "SD 3", "sd35": "SD 3", "sd35m": "SD 3.5 Medium", "sd35l": "SD 3.5 Large",
    "flux": "Flux.1", "flux1": "Flux.1", "flux1d": "Flux.1", "fluxdev": "Flux.1",
    "flux2": "Flux.2",
    "qwen": "Qwen-Image", "qwenimage": "Qwen-Image",
    "zimage": "Z-Image", "zimageturbo": "Z-Image",
    "wan": "Wan", "wan21": "Wan", "wan22": "Wan", "wan2": "Wan",
    "anima": "Anima", "krea2": "Krea 2", "lumina2": "Lumina 2",
    "hunyuan": "Hunyuan Video", "hunyuanvideo": "Hunyuan Video",
    "hidream": "HiDream", "ltx": "LTX", "ltxv": "LTX",
    "auraflow": "AuraFlow", "pixart": "PixArt", "kolors": "Kolors",
}  # fmt: skip

_NOT_LETTERS = str.maketrans(dict.fromkeys("_-./\\()[]{}+,;&!#'@=", " "))


def base_model_of(
    layout: Layout | None,
    metadata: Mapping[str, str],
    side_label: str | None,
    names: Sequence[str],
    *,
    structure: Finding | None = None,
    top_tags: Mapping[str, int] | None = None,
) -> BaseModel:
    """Decide the base model.

    `side_label` is the raw base model of a side file, `names` are file name and folder, most
    telling first. `structure` may hand in `structure_of(layout)` where it is known already;
    `top_tags` are dataset tags, in which Pony's `score_9` speaks.
    """
    if structure is None and layout is not None:
        structure = structure_of(layout)
    told = _metadata_label(metadata)
    side = normalise_label(side_label) if side_label else None
    found = _first(structure, told, side, names)
    if found.label is None or architecture_of(found.label) != "SDXL":
        return found
    return _family(found, metadata, side, names, top_tags or {})


def _first(
    structure: Finding | None, told: str | None, side: str | None, names: Sequence[str]
) -> BaseModel:
    """The strongest evidence, made more exact by weaker evidence that agrees with it."""
    if structure is not None:
        label, source, confidence = structure.label, "structure", structure.confidence
        if told is not None and narrower(label, told) is None:
            return BaseModel(label, "conflict", min(confidence, 0.6))
    elif told is not None:
        label, source, confidence = told, "metadata", 0.9
        if side is not None and narrower(told, side) is None:
            confidence = 0.6
    elif side is not None:
        return BaseModel(side, "side file", 0.85)
    else:
        return _from_names(names)
    for finer, its_source, its_confidence in (
        (told, "metadata", 0.9),
        (side, "side file", 0.85),
        (_from_names(names).label, "name", 0.6),
    ):
        exact = narrower(label, finer) if finer is not None else None
        if exact is not None and exact != label and exact not in SDXL_FAMILIES:
            label, source, confidence = exact, its_source, min(confidence, its_confidence)
    return BaseModel(label, source, confidence)


def _metadata_label(metadata: Mapping[str, str]) -> str | None:
    """What the trainer wrote; modelspec first, made more exact by sd-scripts' own field."""
    spec = _label(metadata.get("modelspec.architecture"))
    version = _label(metadata.get("ss_base_model_version"))
    if version is None and metadata.get("ss_v2") == "True":  # early sd-scripts wrote only this
        version = "SD 2.x"
    if spec is None or version is None:
        return spec or version
    return narrower(spec, version) or spec


def _label(text: str | None) -> str | None:
    return normalise_label(text) if text and len(text) <= 100 else None


def _family(
    found: BaseModel,
    metadata: Mapping[str, str],
    side: str | None,
    names: Sequence[str],
    top_tags: Mapping[str, int],
) -> BaseModel:
    """SDXL made more exact by names, surest first; a plain side file beats file names."""
    if found.label in SDXL_FAMILIES and found.source != "name":
        return found  # the metadata or the side file said so itself
    conflict = found.source if found.source == "conflict" else None
    if side in SDXL_FAMILIES:
        return BaseModel(side, conflict or "side file", min(found.confidence, 0.85))
    checkpoint = family_in(metadata.get("ss_sd_model_name", ""))
    if checkpoint is not None:
        return BaseModel(checkpoint, conflict or "name", min(found.confidence, 0.75))
    if side == "SDXL":
        return found
    for text in (metadata.get("modelspec.title", ""), metadata.get("ss_output_name", ""), *names):
        family = _word_label(text)
        if family in SDXL_FAMILIES:
            return BaseModel(family, conflict or "name", min(found.confidence, 0.6))
    if "score_9" in top_tags or "score_9_up" in top_tags:
        return BaseModel("Pony", conflict or "name", min(found.confidence, 0.6))
    return found


def family_in(text: str) -> str | None:
    """The SDXL family that a checkpoint name carries anywhere inside, or None."""
    lower = text.lower()
    return next((family for mark, family in _FAMILY_MARKS if mark in lower), None)


def _from_names(names: Sequence[str]) -> BaseModel:
    for place, name in enumerate(names):
        label = _word_label(name)
        if label is not None:
            return BaseModel(label, "name", 0.5 if place == 0 else 0.4)
    return UNKNOWN


def _word_label(text: str) -> str | None:
    """The base that a word of a name tells; a family of SDXL beats plain SDXL."""
    found: str | None = None
    for word in text.lower().translate(_NOT_LETTERS).split():
        label = _NAME_WORDS.get(word)
        if label is not None and (found is None or (found == "SDXL" and label in SDXL_FAMILIES)):
            found = label
    return found
