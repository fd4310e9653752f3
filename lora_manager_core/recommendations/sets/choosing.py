"""Which adapters go together for a prompt: for each part of it its best, picked in turn.

After Stylus (arXiv 2404.18928), but local and the same each time. A part gives one character, one
style and one adapter of another kind at most, the whole set one character, one style and four in
all; a turn goes once through the parts in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lora_manager_core.common.base_labels import compatible
from lora_manager_core.embeddings.prompts import Segments, words_of
from lora_manager_core.recommendations.answers.candidates import Candidates
from lora_manager_core.recommendations.answers.explanation import prompt_details, taste_sentence
from lora_manager_core.recommendations.answers.parts import Parts, Scores, best_rows
from lora_manager_core.recommendations.answers.prompt_scores import score_prompt
from lora_manager_core.recommendations.answers.ranking import add_family, add_taste
from lora_manager_core.recommendations.answers.weights import ScoreWeights
from lora_manager_core.recommendations.catalogue.entry import Entry
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot
from lora_manager_core.recommendations.sets.classes import NEAR_DUPLICATE
from lora_manager_core.recommendations.taste.scores import TasteScores

Role = Literal["character", "style", "other"]

#: Adapters that fit a part less than this are not chosen for it (the score without taste; a text
#: that shares half of its vector with the part has 0.5). Provisional.
LEAST_FIT = 0.4
#: The best so many of a part are looked at.
_LOOKED_AT = 12
_CHARACTERS = frozenset(("character", "characters", "person", "celebrity"))
_STYLES = frozenset(("style", "styles", "art style", "artstyle", "artist", "artist style"))


@dataclass(frozen=True, slots=True)
class Choice:
    """One adapter chosen for a part of the prompt, and why."""

    row: int
    entry: Entry
    segment: str
    role: Role
    score: float
    reasons: tuple[str, ...]


@dataclass(slots=True)
class Choices:
    """What was chosen, in the order picked, and what would have come next: entry, part, reason."""

    chosen: list[Choice] = field(default_factory=list)
    passed_over: list[tuple[Entry, str, str]] = field(default_factory=list)


def choose(
    snapshot: Snapshot,
    parts: Sequence[str],
    vectors: Scores | None,
    base_model: str | None,
    taste: TasteScores,
    weights: ScoreWeights,
    limit: int,
) -> Choices:
    """Choose at most `limit` adapters; `vectors` has a row for each part, or is None for words."""
    candidates = Candidates(snapshot)
    candidates.fit(base_model)
    queues = [
        _ranked(
            snapshot,
            part,
            None if vectors is None else vectors[number : number + 1],
            base_model,
            candidates,
            taste,
            weights,
        )
        for number, part in enumerate(parts)
    ]
    made = Choices()
    given: list[set[Role]] = [set() for _ in parts]
    while queues and len(made.chosen) < limit:
        before = len(made.chosen)
        for queue, roles in zip(queues, given, strict=True):
            if len(made.chosen) < limit:
                _pick(snapshot, queue, roles, made)
        if len(made.chosen) == before:
            break
    return made


def role_of(entry: Entry) -> Role:
    """What an adapter is for, by its archetype and tags."""
    words = {word.casefold() for word in (entry.archetype or "", *entry.tags)}
    if words & _CHARACTERS:
        return "character"
    return "style" if words & _STYLES else "other"


def _pick(snapshot: Snapshot, queue: Iterator[Choice], roles: set[Role], made: Choices) -> None:
    """Take the next of a part that goes with what was chosen."""
    for choice in queue:
        if any(choice.row == other.row for other in made.chosen):
            roles.add(choice.role)
            continue
        problem = _against(snapshot, choice, made.chosen)
        if problem is None and choice.role in roles:
            problem = f"“{choice.segment}” has one of this kind already"
        if problem is None:
            roles.add(choice.role)
            made.chosen.append(choice)
            return
        made.passed_over.append((choice.entry, choice.segment, problem))


def _against(snapshot: Snapshot, choice: Choice, chosen: Sequence[Choice]) -> str | None:
    """Why it does not go with what was chosen."""
    cosines, known = snapshot.sketch_cosines(choice.row)
    for other in chosen:
        if choice.role != "other" and choice.role == other.role:
            return f"one {choice.role} is enough, and “{other.entry.name}” was first"
        bases = choice.entry.base_model, other.entry.base_model
        if bases[0] and bases[1] and not compatible(bases[0], bases[1]):
            return f"made for {bases[0]}, but “{other.entry.name}” for {bases[1]}"
        if known[other.row] and cosines[other.row] >= NEAR_DUPLICATE:
            cosine = float(cosines[other.row])
            return f"nearly the same file as “{other.entry.name}” (cosine {cosine:.2f})"
    return None


def _ranked(
    snapshot: Snapshot,
    part: str,
    vectors: Scores | None,
    base_model: str | None,
    candidates: Candidates,
    taste: TasteScores,
    weights: ScoreWeights,
) -> Iterator[Choice]:
    """What fits one part of the prompt, best first."""
    fit = score_prompt(
        snapshot, Segments([part], words_of(part)), vectors, None, candidates.rows, weights
    )
    likeness = fit.parts.likeness()
    add_family(fit.parts, snapshot, base_model, weights)
    add_taste(fit.parts, taste, weights)
    final = fit.parts.final()
    details = prompt_details(snapshot, fit)
    rows = best_rows(final, candidates.rows & (likeness >= LEAST_FIT), _LOOKED_AT)
    return iter(
        [
            Choice(
                row,
                snapshot.entries[row],
                part,
                role_of(snapshot.entries[row]),
                float(final[row]),
                tuple(_reasons(fit.parts, row, details, taste)),
            )
            for row in rows.tolist()
        ]
    )


def _reasons(
    parts: Parts, row: int, details: Callable[[int, str], str], taste: TasteScores
) -> Iterator[str]:
    for name, value in parts.of(row):
        if name in ("preference", "popularity"):
            yield taste_sentence(name, value, taste.because(row))
        else:
            yield details(row, name)
