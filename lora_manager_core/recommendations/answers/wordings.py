"""Which texts of a prompt are compared with adapters: its parts, and two readings of all of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lora_manager_core.embeddings.prompts import Segments, words_of

if TYPE_CHECKING:
    from lora_manager_core.recommendations.catalogue.snapshot import WordsView

#: A prompt longer than this is about too much for one vector, which would take long, too.
_LONGEST_WHOLE = 300
_WORD = re.compile(r"\w+")


def with_wordings(asked: Segments, words: WordsView) -> Segments:
    """The same, with further parts: all parts together, and that as the adapters spell it.

    Both are near what a part by itself is not: a description taken apart at its commas, a word
    misspelt. On half A of the benchmark's concepts they raise nDCG@10 from 0.79 to 0.82, that of
    misspelt queries from 0.63 to 0.77 (experiment of this project).
    """
    whole = ", ".join(asked.parts)
    if not whole or len(whole) > _LONGEST_WHOLE:
        return asked
    meant = words.meant(words_of(whole))
    spelt = _WORD.sub(lambda word: meant.get(word[0].casefold(), word[0]), whole)
    return Segments(list(dict.fromkeys([*asked.parts, whole, spelt])), asked.words)
