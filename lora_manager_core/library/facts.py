"""Everything a scan stores about one adapter file: its header and its side files made into one.

`.pt` and `.ckpt` files are pickles: they are never opened, only their side files speak.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any

import orjson

from lora_manager_core.library.base_model import base_model_of
from lora_manager_core.library.network_type import Network, describe_network
from lora_manager_core.library.safetensors_header import (
    Header,
    HeaderUnreadable,
    TensorTable,
    read_header,
    read_scalar,
)
from lora_manager_core.library.side_files import SideFacts
from lora_manager_core.library.side_formats import plain_text
from lora_manager_core.library.structure import Finding, structure_of

MAX_TAGS = 100  # of `tag_frequency`, the most frequent ones
MAX_TRIGGER_CHARS = 200
_PICKLES = (".pt", ".ckpt", ".pth", ".bin")
_NO_SIDE = SideFacts()

# Tags of nearly every picture collection: never somebody's trigger word.
_COMMON_TAGS = frozenset((
    "1girl", "1boy", "solo", "looking at viewer", "simple background", "white background", "smile",
    "long hair", "short hair", "breasts", "outdoors", "indoors", "standing", "sitting", "shirt",
    "masterpiece", "best quality", "highres", "absurdres", "no humans", "realistic", "upper body",
    "full body", "monochrome", "greyscale", "comic", "text", "man", "woman", "girl", "boy",
))  # fmt: skip

# Metadata field → name in `training`; counts become whole numbers, the rest stays text.
_TRAINING = {
    "ss_steps": "steps", "ss_num_epochs": "epochs", "ss_epoch": "epoch",
    "ss_num_train_images": "images", "ss_num_reg_images": "regularisation_images",
    "ss_max_train_steps": "max_steps", "ss_clip_skip": "clip_skip", "ss_seed": "seed",
    "ss_learning_rate": "learning_rate", "ss_unet_lr": "unet_learning_rate",
    "ss_text_encoder_lr": "text_encoder_learning_rate", "ss_lr_scheduler": "scheduler",
    "ss_optimizer": "optimizer", "ss_network_module": "network_module",
    "ss_sd_model_name": "checkpoint", "ss_mixed_precision": "precision",
    "ss_noise_offset": "noise_offset", "ss_training_comment": "comment",
    "ss_training_finished_at": "finished_at_s", "modelspec.date": "date",
    "modelspec.merged_from": "merged_from", "modelspec.usage_hint": "usage_hint",
    "modelspec.license": "license",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What one adapter file and its side files say.

    `problem` is why the header could not be read (side files were read all the same). `alpha` is
    the value for the commonest rank, None when missing (the scale is 1 then). `trained_words` are
    trigger candidates, surest first. `tag_frequency` holds the 100 most frequent dataset tags,
    summed over folders. `resolution` is `WIDTHxHEIGHT` in pixels. `training` holds what the trainer
    wrote (steps, images, epochs, …). `model_hash` is `sshs_model_hash`, the hash of the weights
    without the header. `has_thumbnail`: modelspec carries a picture (not kept here).
    """

    network_type: str | None = None
    rank: int | None = None
    rank_min: int | None = None
    rank_max: int | None = None
    alpha: float | None = None
    text_encoders: tuple[str, ...] = ()
    control: bool = False
    embedding: bool = False
    base_model: str | None = None
    base_model_source: str | None = None
    base_model_confidence: float = 0.0
    title: str | None = None
    author: str | None = None
    description: str | None = None
    trained_words: tuple[str, ...] = ()
    trained_words_source: str | None = None
    tags: tuple[str, ...] = ()
    tag_frequency: dict[str, int] = field(default_factory=dict)
    resolution: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    model_hash: str | None = None
    has_thumbnail: bool = False
    file_size: int | None = None
    mtime_ns: int | None = None
    problem: str | None = None


def read_facts(
    path: str | os.PathLike[str], side: SideFacts | None, relative_folder: str
) -> AdapterFacts:
    """Read one file; never raises for what it contains.

    `relative_folder` is the folder below the library root: its name may tell the base model.
    """
    side = side or _NO_SIDE
    text_path = os.fspath(path)
    stem, ending = os.path.splitext(os.path.basename(text_path))  # noqa: PTH119,PTH122  per file
    names = (stem, relative_folder)
    if ending.lower() in _PICKLES:
        return _from_side(side, names, None)
    try:
        header = read_header(text_path)
    except HeaderUnreadable as error:
        return _from_side(side, names, error.reason)
    network, structure = _analysed(header.table)
    metadata = header.metadata
    if not metadata:
        tags: dict[str, int] = {}
        trigger = None
    else:
        tags, trigger = _dataset_tags(metadata)
    base = base_model_of(None, metadata, side.base_model, names, structure=structure, top_tags=tags)
    words, words_source = _trigger_words(side, metadata, trigger)
    get = metadata.get
    return AdapterFacts(
        network_type=network.network_type,
        rank=network.rank,
        rank_min=network.rank_min,
        rank_max=network.rank_max,
        alpha=_alpha(text_path, header, network),
        text_encoders=network.text_encoders,
        control=network.control,
        embedding=network.embedding,
        base_model=base.label,
        base_model_source=base.source,
        base_model_confidence=base.confidence,
        title=side.name or _clean(get("modelspec.title")),
        author=side.author_username or _clean(get("modelspec.author")),
        description=side.description or _markup(get("modelspec.description")),
        trained_words=words,
        trained_words_source=words_source,
        tags=side.tags or _listed(get("modelspec.tags")),
        tag_frequency=tags,
        resolution=_resolution(get("modelspec.resolution") or get("ss_resolution")),
        training=_training(metadata) if metadata else {},
        model_hash=_clean(get("sshs_model_hash")),
        has_thumbnail=bool(get("modelspec.thumbnail")),
        file_size=header.file_size,
        mtime_ns=header.mtime_ns,
    )


def forget_tables() -> None:
    """Give back the memory of remembered analyses; worth a call when a scan has ended."""
    _analysed.cache_clear()


@lru_cache(maxsize=16)  # by identity: equal tensor tables are one object, see safetensors_header
def _analysed(table: TensorTable) -> tuple[Network, Finding | None]:
    network = describe_network(table.entries)
    return network, structure_of(network.layout)


def _from_side(side: SideFacts, names: tuple[str, str], problem: str | None) -> AdapterFacts:
    base = base_model_of(None, {}, side.base_model, names)
    return AdapterFacts(
        base_model=base.label,
        base_model_source=base.source,
        base_model_confidence=base.confidence,
        title=side.name,
        author=side.author_username,
        description=side.description,
        trained_words=side.trained_words,
        trained_words_source="side file" if side.trained_words else None,
        tags=side.tags,
        problem=problem,
    )


def _alpha(path: str, header: Header, network: Network) -> float | None:
    """`ss_network_alpha`, else the value of one alpha tensor of the commonest rank."""
    told = _number(header.metadata.get("ss_network_alpha"))
    if told is not None and told > 0:
        return told
    keys = network.alpha_keys
    key = keys.get(network.rank) or next(iter(keys.values()), None)
    return read_scalar(path, header, key) if key is not None else None


def _dataset_tags(metadata: Mapping[str, str]) -> tuple[dict[str, int], str | None]:
    """The most frequent dataset tags, summed over folders, and the one that looks like a trigger.

    `ss_tag_frequency` is JSON in a text: {"10_name": {"tag": count, …}, …} (kohya sd-scripts).
    """
    text = metadata.get("ss_tag_frequency")
    if not text:
        return {}, None
    try:
        folders = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}, None
    if not isinstance(folders, dict):
        return {}, None
    try:
        top = _most_frequent([tags for tags in folders.values() if isinstance(tags, dict)])
    except TypeError:
        top = {}
    if not set(map(type, top.values())) <= {int}:
        top = {}  # somebody's own format: counts are whole numbers everywhere else
    if not top:
        return {}, None
    if "\\u0000" in text:
        top = {tag.replace("\0", ""): count for tag, count in top.items()}
    return top, _likely_trigger(top, folders)


def _most_frequent(folders: list[dict[str, int]]) -> dict[str, int]:
    """The MAX_TAGS highest sums of the counts, highest first; changes the dicts."""
    if not folders:
        return {}
    sums = folders[0]
    for tags in folders[1:]:
        for tag in sums.keys() & tags.keys():
            tags[tag] += sums[tag]
        sums.update(tags)
    return dict(sorted(sums.items(), key=itemgetter(1), reverse=True)[:MAX_TAGS])


def _likely_trigger(top: Mapping[str, int], folders: Mapping[str, Any]) -> str | None:
    """The tag that the first possible dataset folder is named after, if it is no everyday tag.

    Without such a folder a single word that is on top and mixes letters with digits, or that is
    far ahead of the next tag, is taken.
    """
    for folder in folders:
        for name in _names_in(folder):
            if (
                name in top
                and 2 <= len(name) <= MAX_TRIGGER_CHARS
                and name.replace("_", " ").lower() not in _COMMON_TAGS
            ):
                return name
    ranked = list(islice(top.items(), 2))
    tag, count = ranked[0]
    word = tag.strip()
    if not 2 <= len(word) <= MAX_TRIGGER_CHARS or word.replace("_", " ").lower() in _COMMON_TAGS:
        return None
    mixed = any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
    ahead = len(ranked) > 1 and count >= 2 * ranked[1][1]
    return word if " " not in word and (mixed or ahead) else None


def _names_in(folder: str) -> Iterator[str]:
    """The spellings of a dataset folder as a tag, without its repeats (`10_name` is `name`)."""
    repeats, _, rest = folder.partition("_")
    name = (rest if repeats.isdecimal() else folder).strip()
    spaced = name.replace("_", " ")
    yield name
    yield spaced
    yield spaced.replace(" ", "_")
    lower = spaced.lower()
    yield lower
    yield lower.replace(" ", "_")
    yield from spaced.split()
    yield from lower.split()


def _trigger_words(
    side: SideFacts, metadata: Mapping[str, str], trigger: str | None
) -> tuple[tuple[str, ...], str | None]:
    if side.trained_words:
        return side.trained_words, "side file"
    phrase = _listed(metadata.get("modelspec.trigger_phrase"))
    if phrase:
        return phrase, "metadata"
    return ((trigger,), "dataset tags") if trigger else ((), None)


def _training(metadata: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, ours in _TRAINING.items():
        text = metadata.get(name)
        if text is None or not text or text in ("None", "null") or len(text) > 2000:
            continue
        told[ours] = int(text) if len(text) < 16 and text.isdecimal() else text.replace("\0", "")
    return told


def _resolution(text: str | None) -> str | None:
    """`(512, 768)`, `512,768`, `512x768` and `512` as `512x768` (width x height)."""
    if not text or len(text) > 40:
        return None
    sides = text.strip("()[] ").replace("x", ",").split(",")
    sides = [side.strip() for side in sides]
    if len(sides) == 1:
        sides *= 2
    if len(sides) != 2 or not all(side.isdecimal() and len(side) < 6 for side in sides):
        return None
    return f"{int(sides[0])}x{int(sides[1])}"


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _clean(text: str | None) -> str | None:
    return (text.replace("\0", "").strip() or None) if text else None


def _markup(text: str | None) -> str | None:
    return (plain_text(text) or None) if text else None


def _listed(text: str | None) -> tuple[str, ...]:
    """A comma-separated list without blanks and repeats."""
    if not text:
        return ()
    return tuple(dict.fromkeys(part.strip() for part in _parts(text) if part.strip()))


def _parts(text: str) -> list[str]:
    return text.replace("\0", "").split(",")
