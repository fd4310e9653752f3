"""Safetensors files whose headers are damaged in every way we know, the same for the same seed.

Half are real files that something happened to, half are valid JSON that says impossible things.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

_DOWN = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
_HUGE = (2**31, 2**40, 2**62, 2**63, 2**64 - 1, 2**64, 10**30, -1, -(2**63), 1e300, 0.5, True)
_ODD: tuple[Any, ...] = (
    None, "", "0", [], {}, [[]], "9" * 5000, "\0", "a\0b", "\u2028", "\ud7ff", "💥" * 50, "NaN",
    "1e999", "-inf", '{"a":', '{"a":{"b":"c"}}', '{"a":{"b":18446744073709551615}}',
    '{"1_a":{"x":18446744073709551615},"2_b":{"x":18446744073709551615}}', "[" * 3000,
    '{"x":' * 3000, '{"a":{"":1," ":2,"\\u0000":3}}', *_HUGE,
)  # fmt: skip
_KEYS = (
    "ss_tag_frequency", "ss_network_alpha", "ss_network_dim", "ss_resolution", "ss_steps",
    "ss_base_model_version", "ss_sd_model_name", "ss_output_name", "sshs_model_hash", "ss_v2",
    "modelspec.architecture", "modelspec.title", "modelspec.description", "modelspec.tags",
    "modelspec.resolution", "modelspec.trigger_phrase", "modelspec.thumbnail", "modelspec.author",
)  # fmt: skip
_PARTS = (
    "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", "dora_scale", "hada_w1_a",
    "hada_w1_b", "hada_t1", "lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "oft_blocks", "diff",
    "weight", "on_input", "a1.weight", "b1.weight", "w_norm", "bias_values", "",
)  # fmt: skip


def whole_file(random_: random.Random) -> bytes:
    """A file of a kohya LoRA of one layer, with metadata, as a trainer writes it."""
    metadata = {key: str(random_.randint(1, 999)) for key in random_.sample(_KEYS, 6)}
    metadata["ss_tag_frequency"] = json.dumps({"10_hero": {"hero": 9, "1girl": 7}})
    tensors = {}
    offset = 0
    for part, shape in (("alpha", []), ("lora_down.weight", [4, 768]), ("lora_up.weight", [64, 4])):
        size = 2 * (shape[0] * shape[1] if shape else 1)
        tensors[f"{_DOWN}.{part}"] = {
            "dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]
        }  # fmt: skip
        offset += size
    return with_header({"__metadata__": metadata, **tensors}, b"\x3c" * offset)


def with_header(document: Any, data: bytes = b"") -> bytes:
    """A file with this as its header, whatever it is."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + data


def damaged_files(count: int, seed: int) -> Iterator[bytes]:
    """`count` files; each was damaged by one to three of the ways below."""
    random_ = random.Random(seed)
    for _ in range(count):
        content = whole_file(random_)
        if random_.random() < 0.5:
            content = with_header(_impossible(random_), b"\x3c" * random_.choice((0, 2, 9000)))
        if random_.random() < 0.7:
            for _ in range(random_.randint(1, 3)):
                content = random_.choice(_DAMAGES)(random_, content)
        yield content


def _impossible(random_: random.Random) -> Any:
    """A header that is valid JSON and says what no trainer would."""
    document: dict[str, Any] = {}
    if random_.random() < 0.8:
        keys = random_.sample(_KEYS, random_.randint(1, len(_KEYS)))
        document["__metadata__"] = {key: random_.choice(_ODD) for key in keys}
        if random_.random() < 0.1:
            document["__metadata__"] = random_.choice(_ODD)
    for number in range(random_.randint(0, 6)):
        name = f"{random_.choice((_DOWN, 'x', '', '.', 'lora_te_', '²'))}{number}"
        document[f"{name}.{random_.choice(_PARTS)}"] = _entry(random_)
    return random_.choice((document, document, document, [document], *_ODD[:5]))


def _entry(random_: random.Random) -> Any:
    axes = [random_.choice((*_HUGE, 0, 1, 4, 768)) for _ in range(random_.randint(0, 5))]
    if random_.random() < 0.5:  # no elements: whatever the other axes are, the length fits
        axes = [abs(int(axis)) % 2**64 for axis in axes] + [0]
        return {"dtype": "F16", "shape": axes, "data_offsets": [0, 0]}
    entry = {
        "dtype": random_.choice(("F16", "I64", "f16", *_ODD)),
        "shape": random_.choice((axes, axes, "4,768", [4] * 5000, *_ODD)),
        "data_offsets": random_.choice(([0, 2], [2, 0], [0, 2**63], [*axes], *_ODD)),
    }
    if random_.random() < 0.2:
        del entry[random_.choice(list(entry))]
    return random_.choice((entry, entry, entry, random_.choice(_ODD)))


def _cut(random_: random.Random, content: bytes) -> bytes:
    return content[: random_.randint(0, len(content))]


def _other_length(random_: random.Random, content: bytes) -> bytes:
    right = int.from_bytes(content[:8], "little")
    lengths = (0, 1, 2, right - 1, right + 1, 99_999_999, 100_000_001, 2**31, 2**63, 2**64 - 1)
    return struct.pack("<Q", max(0, random_.choice(lengths)) % 2**64) + content[8:]


def _other_bytes(random_: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random_.randint(1, 9)):
        if changed:
            changed[random_.randrange(min(len(changed), 1500))] = random_.randrange(256)
    return bytes(changed)


def _other_text(random_: random.Random, content: bytes) -> bytes:
    """A piece of the header replaced, its length put right."""
    text = content[8 : 8 + int.from_bytes(content[:8], "little")]
    pieces = (
        b'"', b"}", b"{", b"]", b",", b":", b"\\", b"\\u0000", b"\\ud800", b"NaN", b"Infinity",
        b"1e999", b"-0", b"9" * 400, b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe", b"\xc3", b"\0",
        b'"__metadata__":{},', b'"shape":"4x768",', b'"dtype":"F16",',
    )  # fmt: skip
    place = random_.randint(0, len(text))
    new = text[:place] + random_.choice(pieces) + text[place + random_.randint(0, 20) :]
    return with_header(new, content[8 + len(text) :])


def _twice(random_: random.Random, content: bytes) -> bytes:
    """A tensor or the metadata named a second time."""
    text = content[8 : 8 + int.from_bytes(content[:8], "little")]
    comma = text.find(b',"lora')
    if comma < 0 or not text.endswith(b"}"):
        return content
    part = text[comma:-1] if random_.random() < 0.5 else b"," + text[1:comma]
    return with_header(text[:-1] + part + b"}", content[8 + len(text) :])


def _something_else(random_: random.Random, content: bytes) -> bytes:
    begin = (b"PK\x03\x04", b"<!DOCTYPE html>", b"\x80\x02}q\x00", b"\0" * 64, b"version https://")
    return random_.choice(begin) + random_.randbytes(random_.randint(0, 300))


_DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut, _other_length, _other_bytes, _other_bytes, _other_text, _other_text, _twice,
    _something_else,
)  # fmt: skip
