"""How much each adapter is to one person's taste, and why.

The formulas are those of recommendations.md, section 4 (an experiment of this project); the array
work is in `kernel`. Without any feedback, every number here is 0.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.recommendations.taste.book import PersonalBook, TasteBook

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lora_manager_core.recommendations.taste.kernel import Field

#: People whose scores are kept in memory.
_REMEMBERED_USERS = 16


class KnownAdapter(Protocol):
    """What taste looks at of an adapter."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def author(self) -> str | None: ...
    @property
    def archetype(self) -> str | None: ...
    @property
    def base_model(self) -> str | None: ...
    @property
    def network_type(self) -> str | None: ...


class KnownAdapters(Protocol):
    """What taste needs of the catalogue: entries, one row each, and their text vectors.

    `text_matrix(key)` gives `(float32 (n, d) of unit rows, bool (n,) which rows have one)`.
    """

    @property
    def entries(self) -> Sequence[KnownAdapter]: ...
    @property
    def row_of(self) -> Mapping[str, int]: ...

    def text_matrix(self, key: str, /) -> tuple[NDArray[np.float32], NDArray[np.bool_]]: ...


@dataclass(frozen=True, slots=True)
class Because:
    """One reason: `share` is its summand of `pref` (below 0 speaks against the adapter).

    `kind` is the sign that weighs most of those of that adapter (`signals`), or `preference`; then
    `adapter_id` is None and `name` what was said to be preferred.
    """

    adapter_id: str | None
    name: str
    kind: str
    share: float


class TasteScores:
    """The scores of all rows of one snapshot, for one person, as of one moment.

    `pref` is in [-1, 1], shape (n,), float64. `pop` is the Beta-shrunk share of showings in which
    an adapter was taken, less what it is for one never shown, so in (-0.2, 0.8), shape (n,).
    `n` counts the signs of taste that `pref` is made of.
    """

    def __init__(
        self,
        pref: NDArray[np.float64],
        pop: NDArray[np.float64],
        n: int,
        reasons: Callable[[int, int], list[Because]],
    ) -> None:
        self.pref = pref
        self.pop = pop
        self.n = n
        self._reasons = reasons

    def because(self, row: int, most: int = 3) -> list[Because]:
        """The largest summands of `pref` of that row, the largest first."""
        return self._reasons(row, most)


class Taste:
    """Scores from what is in the database; what did not change is neither read nor computed anew.

    `now` gives seconds since 1970.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._book = TasteBook(database)
        self._fields: OrderedDict[str, Field] = OrderedDict()
        self._lock = threading.Lock()

    def scores(self, known: KnownAdapters, user: str, key: str | None = None) -> TasteScores:
        """The scores of a catalogue's rows for that person (empty where there are no users).

        `key` names the text vectors by which adapters are alike; without it, and for adapters that
        have none, the overlap of tags counts.
        """
        from lora_manager_core.recommendations.taste.kernel import Field

        with self._lock:
            now, book = self._now(), self._caught_up()
            # Not kept if it fails half way.
            field = self._fields.pop(user, None) or Field(now)
            field.follow(known, key)
            if field.is_behind(book.revision):
                field.take(book.revision, book.of(user, now))
            self._fields[user] = field
            while len(self._fields) > _REMEMBERED_USERS:
                self._fields.popitem(last=False)
            return field.scores(now)

    def book(self, user: str) -> PersonalBook:
        """The signs that count for that person now."""
        with self._lock:
            return self._caught_up().of(user, self._now())

    def _caught_up(self) -> TasteBook:
        """The book of now; should the database go away half way, it is read anew."""
        book, self._book = self._book, TasteBook(self._database)
        book.catch_up()
        self._book = book
        return book
