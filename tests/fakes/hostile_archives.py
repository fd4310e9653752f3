"""Archives that lie, are broken, or were made to do harm: each by name, with the reason to expect.

Every one of them must be refused without anything left behind. `FORBIDDEN` are names of files that
some of them aim at; such a file may never appear anywhere.
"""

from __future__ import annotations

from functools import lru_cache

from tests.fakes.hostile.base import EVIL, RAN, Hostile
from tests.fakes.hostile.bombs import bombs
from tests.fakes.hostile.encryption import encrypted
from tests.fakes.hostile.files import no_archives, odd_members
from tests.fakes.hostile.foreign import foreign, models
from tests.fakes.hostile.names import traversals
from tests.fakes.hostile.own_manifest import lying_manifests
from tests.fakes.hostile.own_rows import bad_records, bad_rows
from tests.fakes.hostile.records import lying_directories, lying_headers

__all__ = ["FORBIDDEN", "Hostile", "hostile_archives"]

FORBIDDEN = (EVIL, RAN)


@lru_cache(1)
def hostile_archives() -> tuple[Hostile, ...]:
    """All of them, with names of their own."""
    return (
        *no_archives(),
        *traversals(),
        *odd_members(),
        *bombs(),
        *lying_directories(),
        *lying_headers(),
        *encrypted(),
        *lying_manifests(),
        *bad_records(),
        *bad_rows(),
        *foreign(),
        *models(),
    )
