"""Says in words what the summands of a score come from; nothing else is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lora_manager_core.recommendations.answers.likeness import Likeness
from lora_manager_core.recommendations.answers.prompt_scores import PromptFit
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot
from lora_manager_core.recommendations.taste.scores import Because

#: Summands below this are not worth a sentence.
_WORTH_SAYING = 0.02
_MOST_WORDS = 5

#: Gives the sentence about one part of one row's score.
Details = Callable[[int, str], str]


def explain(parts: Sequence[tuple[str, str, float]]) -> str:
    """One text from name, sentence and value of each summand: what weighs most comes first."""
    by_weight = sorted(parts, key=lambda part: -abs(part[2]))
    said = [sentence for _, sentence, value in by_weight if abs(value) >= _WORTH_SAYING]
    return " ".join(said) or "Nothing of it is much like what was asked for."


def prompt_details(snapshot: Snapshot, fit: PromptFit) -> Details:
    """Sentences about how adapters fit a prompt."""

    def _say(row: int, name: str) -> str:
        entry = snapshot.entries[row]
        asked = fit.segments.parts[fit.part[row]] if fit.part is not None else ""
        if name == "text":
            return f"Its description is {_near(fit.text[row])} “{asked}”."
        if name == "tags":
            return f"Its tags are {_near(fit.tags[row])} “{asked}”."
        if name == "words":
            held = ", ".join(snapshot.words.held(fit.tokens, row)[:_MOST_WORDS])
            alone = fit.part is not None and not (fit.text_known[row] or fit.tags_known[row])
            why = "; its text has no vector yet, so it is judged by its words" if alone else ""
            return f"It has these words of the prompt: {held}{why}."
        if name == "spelling":
            return "A word of it is spelt much like one of the prompt that no adapter has."
        if name == "trigger":
            phrases = snapshot.words.phrases(row)
            return f"Its trigger “{phrases[fit.triggered[entry.id]]}” is in the prompt."
        if name == "style":
            return "It goes with the style asked for."
        return f"It was made for {entry.base_model}, as was asked for."

    return _say


def likeness_details(snapshot: Snapshot, target: int, likeness: Likeness) -> Details:
    """Sentences about how adapters are like one adapter."""
    other = snapshot.entries[target].name
    target_tags = {tag.casefold() for tag in snapshot.entries[target].tags}

    def _say(row: int, name: str) -> str:
        if name == "text":
            if likeness.text_known[row]:
                return f"Its description is {_near(likeness.text[row])} that of “{other}”."
            share = likeness.text[row]
            return f"It shares words with “{other}” ({share:.2f} of 1)."
        if name == "tags":
            shared = [t for t in snapshot.entries[row].tags if t.casefold() in target_tags]
            said = f"; both have {', '.join(shared[:_MOST_WORDS])}" if shared else ""
            return f"Its tags are {_near(likeness.tags[row])} those of “{other}”{said}."
        alike = _near(likeness.sketch[row])
        return f"Its weights are {alike} those of “{other}”, by a sketch of both."

    return _say


def trigger_details(found: dict[int, tuple[float, str, str]]) -> Details:
    """Sentences about triggers; `found` has score, phrase and what was found, per row."""
    return lambda row, name: f"Its trigger “{found[row][1]}” {found[row][2]}."


def taste_sentence(name: str, value: float, because: Sequence[Because]) -> str:
    """What a person's taste, or everybody's choices, did to a score."""
    if name == "popularity":
        often = "more" if value > 0 else "less"
        return f"It was taken {often} often than others when it was shown."
    reasons = [reason.name for reason in because if (reason.share > 0) == (value > 0)]
    side = "for" if value > 0 else "against"
    named = f": {', '.join(f'“{reason}”' for reason in reasons)}" if reasons else ""
    return f"What you liked, used or disliked speaks {side} it{named}."


def _near(cosine: float) -> str:
    """How near, in words with the number; `close` from where half of a vector is shared."""
    words = "close to" if cosine >= 0.5 else "somewhat like" if cosine >= 0.3 else "hardly like"
    return f"{words} ({cosine:.2f})"
