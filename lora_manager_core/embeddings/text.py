"""What a text model is shown of an adapter: its words, without those that say nothing of it.

Descriptions are full of settings, requests and names of base models, which are alike everywhere;
left in, they make strangers look like relatives (recommendations by cleaned text are right twice as
often, an experiment of this project). Words of every script stay.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lora_manager_core.common.words import comma_list, distinct_words

#: Raised whenever the cleaning or the template changes: all vectors are stale then.
TEMPLATE_VERSION = 2

#: Characters of a text that are looked at, and of a cleaned one that are kept. A model reads some
#: 250 to 500 tokens, so what comes later would not count.
_MOST_READ = 20_000
_MOST_KEPT = 1_500
#: Characters of name, triggers, description and notes that are kept where tags follow them, so that
#: the tags are within what a model reads.
_MOST_BEFORE_TAGS = 800
#: Dataset tags that are looked at, the most frequent first.
_DATASET_TAGS = 20

_INLINE = re.compile(r"</?(?:a|b|i|u|s|em|strong|span|code|font|mark)(?:\s[^<>]*)?>", re.IGNORECASE)
_HTML = re.compile(r"</?[a-z!][^<>]*>", re.IGNORECASE)
_MARKDOWN_LINK = re.compile(r"!?\[([^\[\]]{0,500})\]\([^()\s]{0,2000}\)")
_ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+"
    r"|\b[\w-]{1,60}(?:\.[\w-]{1,60}){0,3}\.(?:com|net|org|gg|ai|io|me|art|dev|jp|cn|ru)\b(?:/\S*)?"
    r"|[\w.+-]{1,60}@[\w-]{1,60}\.\w{2,10}",
    re.IGNORECASE,
)
_CLAUSES = re.compile(r"[\n;|•►。、]+|\.(?=\s|$)|[,:!?…](?!\d)")

_SETTING = (
    r"(?:weights?|strengths?|multiplier|cfg(?: scale)?|steps?|samplers?|clip ?skip|denois\w*|"
    r"hi-?res\w*|upscal\w*|vae|resolution|scheduler|epochs?|learning rate|network (?:dim|alpha))"
)
#: A clause with one of these says nothing of the pictures. Searched in lower case, which takes half
#: as long as searching without regard to case.
_CHATTER = re.compile(
    rf"\b(?:recommend\w*|suggest\w*|optimal|ideal|best (?:at|with|used))\b"
    r"|\bworks? (?:best|well|fine)\b"
    rf"|\b{_SETTING}\b.{{0,20}}?\d"
    rf"|\d\s*{_SETTING}\b"
    r"|\b(?:leave|write|post|share|drop|send)\b.{0,20}\b(?:reviews?|comments?|likes?|feedback|"
    r"images?|pictures?|results?|creations?|gallery)\b"
    r"|\b(?:please|pls|plz|thanks|thank you|reviews?|feedback|patreon|ko-?fi|buy ?me ?a ?coffee|"
    r"discord|twitter|instagram|commissions?|donat\w+|buzz|downloads?|changelog|early access)\b"
    r"|\b(?:follow|support|contact|message|tip) (?:me|us|my|the author)\b"
    r"|\b(?:hope|enjoy|feel free|let me know|have fun|check out|see (?:also|my|the))\b"
    r"|\btrain(?:ed|ing)\b.{0,40}?(?:\d|\b(?:kohya|base|checkpoint|civitai|trainer|settings)\b)"
    r"|\bmy (?:first|second|other|new|previous|latest|old) (?:\w+ )?(?:loras?|models?|versions?)\b"
    r"|\b(?:license|permission|credit\w*|copyright|merg(?:e|es|ed|ing)|resell|sell)\b"
    r"|推荐权重|建议权重|权重|おすすめ|推奨|ウェイト|рекоменд\w*|вес\b"
)
#: Said before what counts: the words after it stay.
_LABEL = re.compile(
    r"\b(?:trigger(?:ed)?(?: ?words?| by)?|activation(?: ?words?| text)?|keywords?|tags? used|"
    r"usage|description|prompts?|version|update[ds]?|about this version)\b"
    r"(?=\s*(?:$|is\b|are\b|by\b))",
    re.IGNORECASE,
)
#: Names of base models that mean nothing else.
_BASE_MODEL = re.compile(
    r"\b(?:stable ?diffusion(?: ?xl)?(?: ?\d(?:\.\d)?)?|sd ?xl(?: ?1[._]0)?|xl|sd ?1[._]?[45x]?|"
    r"sd ?2[._]?[01x]?|sd ?3(?:[._]5)?(?: (?:medium|large))?|pony ?(?:diffusion)?(?: ?v?6)? ?xl|"
    r"pony ?diffusion|pony ?v6|illustrious ?xl|noob ?ai(?: ?xl)?|noobxl|animagine(?: ?xl)?|"
    r"flux[ .]?[12](?:[ .-]?(?:dev|schnell|pro|klein|[ds]))?|flux ?(?:dev|schnell|pro)|"
    r"qwen[ -]?image|z[ -]image|wan ?2[._]\d|hunyuan ?(?:video|image|dit)|pixart\w*|auraflow|"
    r"hidream|ltx ?v?(?:ideo)?|civitai|hugging ?face|tensor ?art|sea ?art|"
    r"anything ?v\d|counterfeit ?v\d|dreamshaper|nai(?:[ -]?diffusion)?)\b",
    re.IGNORECASE,
)
#: Names that are words as well: taken out where the words around them show what is meant.
_MAYBE_BASE = r"(?:pony|illustrious|flux|chroma|krea|anima|noob|lumina|kolors|wan|il|ilxl|pdxl)"
_MARKED_BASE = re.compile(
    rf"\b(?:for|on|with|in) {_MAYBE_BASE}\b(?! \w)"
    rf"|[(\[]\s*{_MAYBE_BASE}\s*[)\]]"
    rf"|\b{_MAYBE_BASE}[ -](?:version|ver|model|lora|base|checkpoints?|based)\b"
    rf"|\bbased on {_MAYBE_BASE}\b",
    re.IGNORECASE,
)
_LAST_BASE = re.compile(rf"(?<=\w)(?<!little)[\s-]+{_MAYBE_BASE}\s*$", re.IGNORECASE)
_VERSION = re.compile(
    r"\bv(?:er(?:sion)?)?[ .]?\d+(?:[._]\d+)*[a-z]?\b"
    r"|\b(?:epoch|step|rank|dim|alpha)[ .-]?\d{1,6}\b|\b[esr]\d{2,6}\b"
    r"|\b\d{4,}steps?\b|(?<!\w)[-+]?\d+\.\d+\b|\b\d{5,}\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_FORMAT = re.compile(
    r"\b(?:safetensors|ckpt|lo-?ra|loras|lycoris|locon|loha|lokr|fp16|bf16|fp8|checkpoint)\b",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_DOT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_MARKS = re.compile(r"[`*#~=^|<>{}\[\]()\"\\/•►★☆_]+|-{2,}|(?<!\w)-|-(?!\w)")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w+")
#: A clause of nothing else is what is left of "works with SDXL" and the like.
_EMPTY_WORDS = frozenset(
    comma_list(
        "a, an, and, are, as, at, better, by, can, do, for, from, good, great, i, if, in, is, it, "
        "just, like, made, more, new, no, not, of, old, on, only, or, so, than, that, the, these, "
        "this, to, too, try, up, use, used, uses, using, very, was, well, will, with, work, "
        "working, works, you, your"
    )
)


@dataclass(frozen=True, slots=True)
class AdapterText:
    """The columns of one adapter that its texts are made of."""

    name: str
    description: str | None = None
    tags: Sequence[str] = ()
    trained_words: Sequence[str] = ()
    triggers: Sequence[str] = ()
    activation_text: str | None = None
    notes: str | None = None
    archetype: str | None = None
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Texts:
    """The two texts of an adapter; empty where there are no words. `digest` (64 hex digits) is
    that of both and of the way they were made."""

    text: str
    tags: str
    digest: str


def adapter_texts(fields: AdapterText) -> Texts:
    """What is embedded of an adapter. Never raises; each text has at most some 1,500 characters.

    The tags are in both texts: with them in the first, adapters of one subject are alike in 0.82
    instead of 0.77 of cases (experiment of this project, benchmarks/recommendations.py).
    """
    extra = fields.extra or {}
    triggers = [*fields.trained_words, *fields.triggers, fields.activation_text or ""]
    said = _joined(
        _clean_name(fields.name),
        ", ".join(_phrases([fields.archetype or "", *triggers])),
        clean(fields.description or "")[:_MOST_KEPT],
        clean(fields.notes or "")[:_MOST_KEPT],
        clean(_text_of(extra.get("version_description")))[:_MOST_KEPT],
    )
    tags = ", ".join(_phrases(fields.tags))[:_MOST_KEPT]
    dataset_tags = ", ".join(_phrases(_dataset_tags(extra)))
    before = said[:_MOST_BEFORE_TAGS] if tags or dataset_tags else said
    text = _with_letters(_joined(before, tags, dataset_tags)[:_MOST_KEPT])
    tags = _with_letters(tags)
    made_of = "\0".join([str(TEMPLATE_VERSION), text, tags])
    return Texts(text, tags, hashlib.sha256(made_of.encode("utf-8", "replace")).hexdigest())


def clean(text: str) -> str:
    """A description without markup, addresses, settings, requests, base models and versions.

    Never raises; gives at most some 20,000 characters of any script, on one line.
    """
    text = unicodedata.normalize("NFKC", html.unescape(text[:_MOST_READ]))[:_MOST_READ]
    text = _HTML.sub("\n", _INLINE.sub("", text))
    text = _ADDRESS.sub(" ", _MARKDOWN_LINK.sub(r"\1", text)).replace("_", " ")
    kept = (_bare(clause) for clause in _CLAUSES.split(text) if not _CHATTER.search(clause.lower()))
    return ", ".join(clause for clause in kept if clause)


def _clean_name(name: str) -> str:
    """A name as words: `ArtNouveau_Pony_v2` is `Art Nouveau`."""
    words = clean(_DOT.sub(" ", _CAMEL.sub(" ", name[:_MOST_KEPT].replace("_", " "))))
    return _LAST_BASE.sub("", words) or words


@lru_cache(maxsize=8192)
def _bare(clause: str) -> str:
    """A clause without base models, versions, formats and marks; tags come again and again."""
    for pattern in (_BASE_MODEL, _MARKED_BASE, _FORMAT, _MARKS):
        clause = pattern.sub(" ", clause)
    if _DIGIT.search(clause):
        clause = _VERSION.sub(" ", clause)
    clause = _SPACE.sub(" ", clause).strip(" -:.,;'&+%")
    clause = _LABEL.sub("", clause).strip(" -:.,;'&+%")
    return "" if _EMPTY_WORDS.issuperset(_WORD.findall(clause.lower())) else clause


def _phrases(words: Iterable[str]) -> list[str]:
    """Tags and trigger words, cleaned; each once."""
    bare = (_bare(word[:_MOST_KEPT].replace("_", " ")) for word in words)
    return distinct_words(word for word in bare if word)


def _joined(*parts: str) -> str:
    return ". ".join(part for part in parts if part)


def _dataset_tags(extra: Mapping[str, Any]) -> list[str]:
    frequency = extra.get("tag_frequency")
    return [str(tag) for tag in frequency][:_DATASET_TAGS] if isinstance(frequency, dict) else []


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _with_letters(text: str) -> str:
    return text if any(map(str.isalpha, text)) else ""
