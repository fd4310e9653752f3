"""What signs of taste have in common: tags, authors and base models, with their evidence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from lora_manager_core.common.clock import utc_text
from lora_manager_core.recommendations.taste.repository import Traits
from lora_manager_core.recommendations.taste.schemas import Evidence, LearnedPreference
from lora_manager_core.recommendations.taste.signals import (
    KEPT,
    NEGATIVE,
    POSITIVE,
    REMOVED,
    USED,
    Signal,
    moment,
    weight,
)

#: Of each type at most so many are told, and of each so many adapters.
_MOST_LEARNED = 20
_MOST_EVIDENCE = 5
_WORDS: Mapping[str, tuple[str, str]] = {
    POSITIVE: ("liked", "liked"),
    NEGATIVE: ("disliked", "disliked"),
    KEPT: ("in 1 picture that was kept", "in {} pictures that were kept"),
    USED: ("used in 1 generation", "used in {} generations"),
    REMOVED: ("taken out again at once", "taken out again at once {} times"),
}


def learn(
    signals: Mapping[str, Sequence[Signal]], adapters: Sequence[Traits], now: float
) -> list[LearnedPreference]:
    """What these signs (by adapter id) have in common, what weighs most first.

    A trait's score is that of `pref` if adapters were alike by that trait alone:
    Σ y·w / (1 + Σ w).
    """
    by_trait: dict[tuple[str, str], list[Traits]] = defaultdict(list)
    spelling: dict[tuple[str, str], str] = {}
    for adapter in adapters:
        if signals.get(adapter.id):
            for kind, value in _traits(adapter):
                spelling.setdefault((kind, value.casefold()), value)
                by_trait[kind, value.casefold()].append(adapter)
    learned: dict[str, list[LearnedPreference]] = defaultdict(list)
    for (kind, key), having in by_trait.items():
        found = [signal for adapter in having for signal in signals[adapter.id]]
        weights = [weight(signal.at, now) for signal in found]
        pull = sum(s.value * w for s, w in zip(found, weights, strict=True))
        having.sort(key=lambda adapter: -abs(_pull(signals[adapter.id], now)))
        learned[kind].append(
            LearnedPreference.model_validate(
                {
                    "preference_type": kind,
                    "preference_value": spelling[kind, key],
                    "score": pull / (1.0 + sum(weights)),
                    "evidence_count": len(found),
                    "last_evidence_at": utc_text(moment(max(s.at for s in found))),
                    "evidence": [
                        _evidence(adapter, signals[adapter.id])
                        for adapter in having[:_MOST_EVIDENCE]
                    ],
                }
            )
        )
    told = [one for of_kind in learned.values() for one in _heaviest(of_kind)[:_MOST_LEARNED]]
    return _heaviest(told)


def _heaviest(learned: Sequence[LearnedPreference]) -> list[LearnedPreference]:
    return sorted(learned, key=lambda one: (-abs(one.score), one.preference_value.casefold()))


def _traits(adapter: Traits) -> Iterator[tuple[str, str]]:
    yield from dict.fromkeys(("tag", tag) for tag in adapter.tags)
    if adapter.author:
        yield "author", adapter.author
    if adapter.base_model:
        yield "base_model", adapter.base_model


def _pull(signals: Sequence[Signal], now: float) -> float:
    return sum(signal.value * weight(signal.at, now) for signal in signals)


def _evidence(adapter: Traits, signals: Sequence[Signal]) -> Evidence:
    counts = Counter(signal.kind for signal in signals)
    parts = [_WORDS[kind][counts[kind] > 1].format(counts[kind]) for kind in counts]
    return Evidence(
        lora_id=adapter.id,
        lora_name=adapter.name,
        signs=dict(counts),
        summary=f"“{adapter.name}”: {', '.join(parts)}",
    )
