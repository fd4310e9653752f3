"""Names at the border: record names in a prompt become what the backend resolves to that file.

One function for the hook in the host, the HTTP backend and the embedded one. A name that is no
record's is left as typed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.backends.base import GenerationBackend, PromptName
from lora_manager_core.common.lora_tokens import find_tokens, rename_tokens
from lora_manager_core.db.unit_of_work import Database


@dataclass(frozen=True, slots=True)
class TranslatedPrompt:
    """A prompt a backend understands, and what could not be said in it."""

    prompt: str
    warnings: tuple[str, ...] = ()


class PromptTranslator:
    """Rewrites `<lora:NAME…>` by the catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def translate(self, prompt: str, backend: GenerationBackend) -> TranslatedPrompt:
        """The prompt with each record's name turned into the `prompt_name` of its file."""
        resolved = self.resolve({token.name for token in find_tokens(prompt)}, backend)
        warnings: list[str] = []

        def _rename(name: str) -> str | None:
            target = resolved.get(name)
            if target is None:
                return None
            if target.name is None and target.problem:
                warnings.append(f"“{name}” cannot be applied: {target.problem}")
            return target.name

        renamed = rename_tokens(prompt, _rename)
        return TranslatedPrompt(renamed, tuple(dict.fromkeys(warnings)))

    def resolve(
        self, names: Collection[str], backend: GenerationBackend
    ) -> Mapping[str, PromptName]:
        """What each name resolves to; a name that is no record's is not among them."""
        if not names:
            return {}
        with self._database.read() as session:
            stored = Adapters(session).names_in_prompts(names)
        if not backend.has_registry:
            return {name: target for name, (_, target) in stored.items()}
        files = {name: Path(path) for name, (path, _) in stored.items()}
        live = backend.prompt_names(list(files.values()))
        return {name: live[path] for name, path in files.items() if path in live}
