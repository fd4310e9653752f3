"""What becomes of the prompts of one job: names translated, the active set's tokens added once.

Pure text work; `hooks` brings the prompts of the host's job and takes them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lora_manager_core.backends.base import PromptName
from lora_manager_core.common.lora_tokens import find_tokens, rename_tokens

#: Name → what resolves to its file; names that are no record's are not in it.
Names = Mapping[str, PromptName]
#: Name → a key that two names share when they stand for the same file.
FileOf = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ActiveSet:
    """The tokens to add, translated; `problems` are those that cannot be said in this host."""

    tokens: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def names_in(texts: Iterable[str]) -> set[str]:
    """Every LoRA name in the texts."""
    return {token.name for text in texts for token in find_tokens(text)}


def translated(text: str, names: Names) -> str:
    """The text with each record's name turned into what resolves; what does not stays as typed."""

    def _rename(name: str) -> str | None:
        target = names.get(name)
        return target.name if target else None

    return rename_tokens(text, _rename)


def active_set(tokens: Sequence[str], names: Names, file_of: FileOf) -> ActiveSet:
    """The composed tokens as the host understands them, one per file.

    A token whose file cannot be named is left out: under another file's name it would apply that.
    """
    said: dict[str, str] = {}
    problems = []
    for token in tokens:
        (name,) = names_in([token])
        target = names.get(name)
        if target is not None and target.name is None:
            problems.append(f"“{name}” is not applied: {target.problem}")
            continue
        text = translated(token, names)
        (resolved,) = names_in([text])
        said.setdefault(file_of(resolved), text)
    return ActiveSet(tuple(said.values()), tuple(problems))


def with_active_set(
    prompts: Sequence[str],
    active: ActiveSet,
    file_of: FileOf,
    batch_size: int = 1,
    held_elsewhere: Iterable[str] = (),
) -> list[str]:
    """Translated prompts with the tokens they lack added at the end.

    The host gives all prompts of a batch one set of LoRAs: that of the last prompt with tokens. So
    the additions are the same for a whole batch, and a prompt without tokens that would now become
    the last one with some is given those that applied to it before as well. `held_elsewhere` are
    names the host adds later, from styles.
    """
    size = max(batch_size, 1)
    held = {file_of(name) for name in held_elsewhere}
    done: list[str] = []
    for start in range(0, len(prompts), size):
        done += _batch(prompts[start : start + size], active, file_of, held)
    return done


def without_doubles(prompt: str, added: Sequence[str], file_of: FileOf) -> str:
    """The prompt without those of our added tokens whose LoRA somebody else added after us."""
    for token in added:
        if token not in prompt:
            continue
        (name,) = names_in([token])
        holders = [t for t in find_tokens(prompt) if file_of(t.name) == file_of(name)]
        if len(holders) > 1:
            before, _, after = prompt.rpartition(token)
            prompt = f"{before.rstrip()} {after.lstrip()}".strip()
    return prompt


def _batch(prompts: Sequence[str], active: ActiveSet, file_of: FileOf, held: set[str]) -> list[str]:
    tokens_of = [_tokens(prompt) for prompt in prompts]
    in_force = next((tokens for tokens in reversed(tokens_of) if tokens), [])
    keys = held | {file_of(name) for name in names_in(in_force)}
    lacking = [token for token in active.tokens if _key(token, file_of) not in keys]
    if not lacking:
        return list(prompts)
    done = []
    for prompt, own in zip(prompts, tokens_of, strict=True):
        have = {_key(token, file_of) for token in own}
        wanted = lacking if own else [*in_force, *lacking]
        added = [token for token in wanted if _key(token, file_of) not in have]
        done.append(" ".join(part for part in (prompt.rstrip(), *added) if part))
    return done


def _tokens(prompt: str) -> list[str]:
    return [prompt[token.start : token.end] for token in find_tokens(prompt)]


def _key(token: str, file_of: FileOf) -> str:
    (name,) = names_in([token])
    return file_of(name)
