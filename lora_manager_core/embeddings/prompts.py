"""A prompt taken apart: what it asks for, piece by piece, without what every prompt has.

One vector of a whole prompt is the mean of all it asks for and near to nothing of it; the best
piece is near to its adapter.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from lora_manager_core.common.words import comma_list

#: Bounds, so that a prompt of 100 kB costs no more than a long one.
_MOST_READ = 20_000
_MOST_PARTS = 32
_LONGEST_PART = 300
_MOST_WORDS = 500

_TOKEN = re.compile(r"<[^<>]*>")
_BORDER = re.compile(r"\b(?:BREAK|AND|ADDCOMM|ADDROW|ADDCOL)\b|[,;\n\r|。、]+|[.!?](?=\s|$)")
_ESCAPED = re.compile(r"\\([()\[\]{}\\])")
_WEIGHT = re.compile(r":\s*[-+]?\d*\.?\d+\s*(?=[)\]}]|$)")
_BRACKETS = re.compile(r"[()\[\]{}\\\"`*#~^]+")
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SPACE = re.compile(r"[\s_]+")

#: Said in every prompt; taken out wherever they stand.
_QUALITY = re.compile(
    r"\b(?:masterpiece|(?:best|high|highest|good|great|normal|low|worst|amazing|top) ?quality|"
    r"score [4-9](?: up)?|rating (?:safe|questionable|explicit|general|sensitive)|"
    r"source (?:anime|cartoon|furry|pony)|(?:very |most )?aesthetic|newest|absurd ?res|high ?res|"
    r"(?:ultra|super|extremely|highly|insanely|very|hyper) ?(?:-| )?(?:detailed?|hd|realistic)|"
    r"(?:ultra )?(?:4k|8k|16k|uhd|hdr)|trending on artstation|award[ -]winning|sharp focus|"
    r"intricate details?|(?:perfect|detailed|beautiful) (?:eyes|hands|face|anatomy)|"
    r"amazing|stunning|professional|high ?detail|very awa)\b",
    re.IGNORECASE,
)
#: Say nothing when they are all that stands between two commas.
_PLAIN = frozenset(
    comma_list(
        "1girl, 1boy, 2girls, 2boys, 3girls, 3boys, 1other, multiple girls, multiple boys, girl, "
        "boy, woman, man, solo, solo focus, looking at viewer, simple background, "
        "white background, upper body, full body, cowboy shot, close-up, close up, standing, "
        "sitting, smile, detailed, realistic, beautiful, highres, raw photo, photo, image, "
        "picture, illustration, a photo, an image, a picture"
    )
)


@dataclass(frozen=True, slots=True)
class Segments:
    """`parts`: what is asked for, as typed, each once, in order; `words`: their words in order,
    without case. Both empty where nothing is asked for."""

    parts: list[str]
    words: list[str]


def segments(prompt: str) -> Segments:
    """Split at commas, sentences and BREAK; quality words, weights and `<lora:…>` are dropped.

    Never raises; looks at the first 20,000 characters, and gives at most 32 parts.
    """
    text = unicodedata.normalize("NFKC", prompt[:_MOST_READ])[:_MOST_READ]
    text = _TOKEN.sub(",", text)
    parts: dict[str, str] = {}
    for piece in _BORDER.split(text):
        part = _part(piece)
        if part and part.casefold() not in _PLAIN:
            parts.setdefault(part.casefold(), part)
            if len(parts) == _MOST_PARTS:
                break
    words = [word for part in parts for word in words_of(part)]
    return Segments(list(parts.values()), words[:_MOST_WORDS])


def words_of(text: str) -> list[str]:
    """The words of a text without case, as `Segments.words` has them; `_` stands between words."""
    plain = unicodedata.normalize("NFKC", text).replace("_", " ").casefold()
    return _WORD.findall(plain)


def _part(piece: str) -> str:
    piece = _WEIGHT.sub(" ", _ESCAPED.sub(r" \1 ", piece))
    piece = _SPACE.sub(" ", _BRACKETS.sub(" ", piece))
    piece = _SPACE.sub(" ", _QUALITY.sub(" ", piece)).strip(" -:+.'")
    return piece[:_LONGEST_PART].strip() if any(map(str.isalpha, piece)) else ""
