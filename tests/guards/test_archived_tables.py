"""Nothing people wrote can be forgotten in an archive: every table and column is decided on."""

from __future__ import annotations

import pytest

from lora_manager_core.db.models import Base
from lora_manager_core.import_export.archive.tables import (
    DERIVED_COLUMNS,
    EXCLUDED,
    RECORD_COLUMNS,
    TABLES,
    ArchivedTable,
)

_WAY_OUT = (
    "Decide in lora_manager_core/import_export/archive/tables.py: archive it, or say why not."
)


def test_every_table_is_archived_or_left_out_for_a_reason() -> None:
    decided = {"adapters", *EXCLUDED, *(table.name for table in TABLES)}
    assert set(Base.metadata.tables) == decided, _WAY_OUT
    assert all(EXCLUDED.values())


def test_every_column_of_an_adapter_is_in_its_record_or_made_from_others() -> None:
    # RECORD_COLUMNS follows the schema by itself; what is named must exist.
    columns = set(Base.metadata.tables["adapters"].columns.keys())
    assert set(DERIVED_COLUMNS) <= columns, _WAY_OUT
    assert {*RECORD_COLUMNS, *DERIVED_COLUMNS} == columns
    assert all(DERIVED_COLUMNS.values())


@pytest.mark.parametrize("archived", TABLES, ids=lambda table: table.name)
def test_only_columns_that_exist_stay_at_home_for_a_reason(archived: ArchivedTable) -> None:
    assert set(archived.without) <= set(archived.table.columns.keys()), _WAY_OUT
    assert all(archived.without.values())


@pytest.mark.parametrize("archived", TABLES, ids=lambda table: table.name)
def test_rows_can_be_inserted_in_the_order_of_the_list(archived: ArchivedTable) -> None:
    before = ["adapters", *(table.name for table in TABLES[: TABLES.index(archived)])]
    for key in archived.table.foreign_keys:
        assert key.column.table.name in (*before, archived.name)
