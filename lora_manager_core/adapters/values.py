"""The values a request gives for a record: checked, and as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_manager_core.adapters.schemas import AdapterFields
from lora_manager_core.common.lora_tokens import unwritable_characters
from lora_manager_core.common.words import distinct_words
from lora_manager_core.db.models import Adapter
from lora_manager_core.errors import InvalidRequest, Unprocessable

#: Fields that may be null; a null for any other field of a request is an error.
_NULLABLE = frozenset(column.name for column in Adapter.__table__.columns if column.nullable)
_WORD_LISTS = frozenset(("tags", "trained_words", "triggers"))


def given_values(request: AdapterFields | None, exclude: set[str] | None = None) -> dict[str, Any]:
    """What a request says, without what it leaves unsaid.

    Raises:
        InvalidRequest: null for a field that may not be null.
    """
    if request is None:
        return {}
    given = request.model_dump(exclude_unset=True, exclude=exclude)
    nulls = sorted(key for key, value in given.items() if value is None and key not in _NULLABLE)
    if nulls:
        raise InvalidRequest(f"These fields cannot be null: {', '.join(nulls)}.", fields=nulls)
    return given


def check_name(values: Mapping[str, Any]) -> None:
    """Raise `Unprocessable` for a name that no prompt could hold."""
    unwritable = unwritable_characters(values.get("name", ""))
    if unwritable:
        raise Unprocessable(
            f"A name cannot hold {' '.join(repr(c) for c in unwritable)}: "
            "it could not be written in a prompt. Leave those characters out."
        )


def check_weight_range(adapter: Adapter, values: Mapping[str, Any]) -> None:
    """Raise `Unprocessable` for a range of weights that would be upside down."""
    low = values.get("weight_min", adapter.weight_min)
    high = values.get("weight_max", adapter.weight_max)
    if low is not None and high is not None and low > high:
        raise Unprocessable("`weight_min` is above `weight_max`; swap them.")


def column_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Column values for request values: keys without case, words without repetition."""
    columns: dict[str, Any] = {
        key: distinct_words(value) if key in _WORD_LISTS else value for key, value in values.items()
    }
    if "name" in columns:
        columns["name_key"] = columns["name"].casefold()
    if "version" in columns:
        columns["version_key"] = columns["version"] or ""
    if "base_model" in columns:
        columns["base_model_source"] = "person" if columns["base_model"] else None
        columns["base_model_confidence"] = 1.0 if columns["base_model"] else None
    return columns


def assign(adapter: Adapter, values: Mapping[str, Any]) -> None:
    """Set the values on a record, and note that a person set them."""
    for key, value in column_values(values).items():
        setattr(adapter, key, value)
    adapter.edited_fields = sorted({*adapter.edited_fields, *values})
