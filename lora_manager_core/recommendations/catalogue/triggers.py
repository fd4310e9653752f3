"""Which adapters a query triggers: their phrases, found as whole token sequences by their hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

#: A prompt pasted as a trigger is no phrase.
_LONGEST = 40


class TriggerIndex:
    """Phrase → the adapters that have it. Copied before a change by who has shown it to others."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._lengths: Counter[int] = Counter()

    def copy(self) -> TriggerIndex:
        """One that can be changed apart from this one."""
        other = TriggerIndex()
        other._ids, other._lengths = self._ids.copy(), self._lengths.copy()
        return other

    def add(self, adapter_id: str, phrases: Iterable[tuple[str, ...]]) -> None:
        """These phrases trigger that adapter, too."""
        for phrase in phrases:
            if len(phrase) <= _LONGEST:
                ids = self._ids.get(phrase, ())
                self._lengths[len(phrase)] += not ids
                self._ids[phrase] = (*ids, adapter_id)

    def remove(self, adapter_id: str, phrases: Iterable[tuple[str, ...]]) -> None:
        """They do no more."""
        for phrase in phrases:
            if phrase not in self._ids:
                continue
            left = tuple(other for other in self._ids[phrase] if other != adapter_id)
            if left:
                self._ids[phrase] = left
            else:
                del self._ids[phrase]
                self._lengths[len(phrase)] -= 1

    def found(self, tokens: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Adapter id → its longest phrase in the query."""
        met: dict[str, tuple[str, ...]] = {}
        for length in sorted(+self._lengths):
            for start in range(len(tokens) - length + 1):
                phrase = tuple(tokens[start : start + length])
                for adapter_id in self._ids.get(phrase, ()):
                    met[adapter_id] = phrase
        return met
