"""Taking a deletion back can forget nothing: every foreign key to adapters is decided on."""

from __future__ import annotations

from lora_manager_core.adapters.undo.references import MADE_ANEW, REFERENCES
from lora_manager_core.db.models import Base

_WAY_OUT = "Decide in lora_manager_core/adapters/undo/references.py: remember it, or say why not."


def test_every_reference_to_adapters_is_remembered_or_made_anew() -> None:
    keys = {
        (table.name, key.parent.name): key.ondelete
        for table in Base.metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name == "adapters"
    }
    assert set(keys) == {*REFERENCES, *MADE_ANEW}, _WAY_OUT
    assert all(MADE_ANEW.values())
    assert all(keys[one] in ("CASCADE", "SET NULL") for one in REFERENCES), _WAY_OUT
