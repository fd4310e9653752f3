"""What a person sees of many adapters: pages of lists, and what could be filtered by.

Counts are remembered until the catalogue changes, so that one page costs what its rows cost.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

from lora_manager_core.adapters.facet_repository import FACETS, FacetCounts, Facets, unfiltered
from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.common.kept import Kept
from lora_manager_core.db.unit_of_work import Database

#: Distinct filters whose counts are remembered until the catalogue changes.
_REMEMBERED_COUNTS = 512
_REMEMBERED_FACETS = 64


class AdapterLists:
    """The catalogue as lists of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: Kept[int] = Kept(_REMEMBERED_COUNTS)
        self._facets: Kept[FacetCounts] = Kept(_REMEMBERED_FACETS)

    def browse(self, query: AdapterQuery) -> dict[str, Any]:
        """One page of adapters with the counts of the whole."""
        with self._database.read() as session:
            adapters = Adapters(session)
            revision = adapters.revision()
            filtered = self._count(adapters, revision, query.filter_key)
            total = self._count(adapters, revision, AdapterQuery())
            records = adapters.records(query, filtered, total)
        return {
            "items": records,
            "total": total,
            "filtered": filtered,
            "page": query.page,
            "pages": math.ceil(filtered / query.per_page),
            "per_page": query.per_page,
        }

    def facets(self, query: AdapterQuery, top: int) -> dict[str, Any]:
        """For each filter its values with how many records each would leave.

        Every other filter of the query holds, the search too, but not the filter itself, so that
        one sees what else it could be set to. Of tags and folders the `top` most frequent.
        """
        filters = query.filter_key
        with self._database.read() as session:
            adapters = Adapters(session)
            revision = adapters.revision()
            counted: FacetCounts = {}
            # Filters that the query does not set see the same records: those are read once.
            same = [name for name in FACETS if unfiltered(filters, name) == filters]
            asked = [(same, filters)] if same else []
            asked += [([n], unfiltered(filters, n)) for n in FACETS if n not in same]
            for names, seen in asked:
                count = partial(Facets(session).counts, names, seen, top)
                counted |= self._facets.get((revision, tuple(names), seen, top), count)
            untagged = replace(filters, untagged=True)
            return {
                "total": self._count(adapters, revision, AdapterQuery()),
                "filtered": self._count(adapters, revision, filters),
                "facets": {
                    **{name: counted[name] for name in FACETS},
                    "untagged": self._count(adapters, revision, untagged),
                },
            }

    def tags(self) -> list[str]:
        """All tags in use."""
        with self._database.read() as session:
            return Adapters(session).tags()

    def _count(self, adapters: Adapters, revision: int, filters: AdapterQuery) -> int:
        return self._counts.get((revision, filters), partial(adapters.count, filters))
