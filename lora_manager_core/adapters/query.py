"""What a list is asked for, as one value; its `filter_key` identifies the set it selects."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lora_manager_core.adapters.schemas import ListQuery
from lora_manager_core.common.words import comma_list


@dataclass(frozen=True, slots=True)
class AdapterQuery:
    """Filters, order and page of a list of adapters; tags and search are compared without case."""

    search: str = ""
    active_only: bool = False
    tags: tuple[str, ...] = ()
    all_tags: tuple[str, ...] = ()
    exclude_tags: tuple[str, ...] = ()
    untagged: bool = False
    base_model: str | None = None
    network_type: str | None = None
    favorite: bool | None = None
    folder: str | None = None
    file_state: str | None = None
    nsfw_max: int | None = None
    collection: str | None = None
    sort: str = "name"
    order: str | None = None
    seed: int = 0
    page: int = 1
    per_page: int = 24

    @classmethod
    def from_request(cls, asked: ListQuery) -> AdapterQuery:
        """The query of a request, its comma lists taken apart."""
        fields = {name: value for name, value in asked if name in ListQuery.model_fields}
        for name in ("tags", "all_tags", "exclude_tags"):
            fields[name] = comma_list(fields[name])
        return cls(**fields)

    @property
    def descending(self) -> bool:
        """The direction: as asked, else names upwards and everything else downwards."""
        upwards = ("name", "random", "position")
        return self.order == "desc" if self.order else self.sort not in upwards

    @property
    def filter_key(self) -> AdapterQuery:
        """The query without order and page: equal keys select equal sets."""
        return replace(self, sort="name", order=None, seed=0, page=1, per_page=24)
