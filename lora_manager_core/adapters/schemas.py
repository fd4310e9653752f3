"""What goes in and out of the adapter routes; the descriptions here become the API document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_manager_core.common.lora_tokens import MAX_WEIGHT
from lora_manager_core.common.schema import LongText, Name, RequestModel, ShortText, Word

Weight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]
Ordinal = Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)]
Words = Annotated[list[Word], Field(max_length=1000)]
ChosenGroups = Annotated[list[ShortText], Field(max_length=100)]
Visibility = Literal["Public", "Private", "Unlisted"]
SortKey = Literal[
    "name",
    "created_at",
    "updated_at",
    "file_size",
    "rating",
    "use_count",
    "last_used_at",
    "random",
    "position",
]


class TriggerGroup(RequestModel):
    """One set of trigger words of an adapter."""

    name: ShortText = ""
    words: Words = Field(default_factory=list)
    required: bool = Field(
        False, description="Whether its words always go with the adapter, or only when chosen."
    )


class AdapterFields(RequestModel):
    """The fields a person may set on any adapter; all optional."""

    weight: Weight | None = Field(None, description="Strength it is composed with.")
    active: bool | None = Field(None, description="Whether it belongs to the active set.")
    ordinal: Ordinal | None = Field(None, description="Place in the active set; null comes last.")
    tags: Words | None = Field(None, description="Free tags, distinct without case.")
    description: LongText | None = None
    activation_text: LongText | None = Field(None, description="Text to add to a prompt with it.")
    trained_words: Words | None = Field(None, description="Words it was trained on.")
    triggers: Words | None = Field(None, description="Words a person uses to trigger it.")
    archetype: ShortText | None = None
    archetype_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    visibility: Visibility | None = None
    nsfw_level: Annotated[int, Field(ge=0, le=64)] | None = None
    supports_generation: bool | None = None
    sd_version: ShortText | None = None
    favorite: bool | None = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = Field(None, description="1 to 5.")
    notes: LongText | None = None
    negative_prompt: LongText | None = None
    weight_min: Weight | None = Field(None, description="Lower end of the useful weights.")
    weight_max: Weight | None = Field(None, description="Upper end of the useful weights.")
    weight_te: Weight | None = Field(None, description="Strength of the text encoder (`te=`).")
    trigger_groups: Annotated[list[TriggerGroup], Field(max_length=100)] | None = Field(
        None, description="Sets of trigger words; `compose` adds those that are wanted."
    )
    chosen_groups: ChosenGroups | None = Field(
        None, description="Names of the optional trigger groups that the active set uses."
    )
    base_model: ShortText | None = Field(None, description="Corrects what the scan found.")


class AdapterUpdate(AdapterFields):
    """A change of one adapter. At least one field; the name too, since people rename freely."""

    name: Name | None = None
    version: ShortText | None = None


class AdapterCreate(AdapterFields):
    """A new adapter for a file that lies in the library."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Ink portrait",
                "file_path": "/models/Lora/styles/ink_portrait.safetensors",
                "weight": 0.8,
                "tags": ["ink", "portrait"],
            }
        }
    )

    name: Name
    version: ShortText | None = None
    canonical_version_name: ShortText | None = None
    author_username: ShortText | None = None
    published_at: Annotated[str, Field(max_length=40)] | None = None
    file_path: Annotated[str, Field(min_length=1, max_length=4096)]
    primary_file_download_url: Annotated[str, Field(max_length=4096)] | None = None
    stats: dict[str, Any] | None = None
    extra: dict[str, Any] | None = None


class ListQuery(BaseModel):
    """The filters, order and page of a list."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    search: Annotated[str, Field(max_length=1000)] = Field(
        "",
        description="Words and quoted phrases that must all occur, anywhere and in any case; also "
        "`a OR b`, `-not`, `tag:`, `base:`, `author:`, `type:`, `folder:`, `rating:>=4` and `is:` "
        "with active, changed, duplicate, favorite, missing, unrated or untagged. What is none of "
        "these is searched as it stands.",
    )
    active_only: bool = False
    tags: str | None = Field(None, description="Any of these, by comma.")
    all_tags: str | None = Field(None, description="All of these, by comma.")
    exclude_tags: str | None = Field(None, description="None of these, by comma.")
    untagged: bool = False
    base_model: str | None = None
    network_type: str | None = None
    favorite: bool | None = None
    folder: str | None = Field(None, description="In this folder or below it.")
    file_state: Literal["present", "missing", "changed"] | None = None
    nsfw_max: Annotated[int, Field(ge=0, le=64)] | None = None
    collection: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="In the collection with this id; `sort=position` is its own order."
    )
    sort: SortKey = Field("name", description="Names upwards, everything else downwards.")
    order: Literal["asc", "desc"] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31)] = Field(0, description="Of the random order.")
    page: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    per_page: Annotated[int, Field(ge=1, le=1000)] = 24


class FacetQuery(ListQuery):
    """The filters under which facets are counted; order and page mean nothing here."""

    top: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100, description="At most so many tags and folders, the most frequent."
    )


class ActivateRequest(RequestModel):
    """An optional body of the activate call."""

    ordinal: Ordinal | None = None


class BulkRequest(RequestModel):
    """One action on many adapters, in one transaction."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"action": "tag", "lora_ids": ["7d1c…"], "tags": ["ink"]}}
    )

    action: Literal["activate", "deactivate", "delete", "tag", "untag", "set"]
    lora_ids: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100_000)]
    tags: Words | None = Field(None, description="For `tag` and `untag`.")
    values: AdapterFields | None = Field(None, description="For `set`.")
    skip_unknown: bool = Field(False, description="Pass over unknown ids instead of failing.")
    files: bool = Field(
        False, description="For `delete`: the files go to the bin, with all beside them."
    )


class AdapterRecord(BaseModel):
    """One adapter with all its fields, always."""

    id: str
    name: str
    version: str | None
    canonical_version_name: str | None
    description: str | None
    author_username: str | None
    visibility: str
    published_at: str | None
    tags: list[str]
    trained_words: list[str]
    triggers: list[str]
    file_path: str
    weight: float
    active: bool
    ordinal: int | None
    archetype: str | None
    archetype_confidence: float | None
    primary_file_name: str | None
    primary_file_size_kb: float | None
    primary_file_sha256: str | None
    primary_file_download_url: str | None
    primary_file_local_path: str | None
    supports_generation: bool
    sd_version: str | None
    nsfw_level: int
    activation_text: str | None
    stats: dict[str, Any] | None
    extra: dict[str, Any] | None
    json_file_path: str | None
    json_file_mtime: float | None
    json_file_size: int | None
    last_ingested_at: str | None
    created_at: str
    updated_at: str
    network_type: str | None
    base_model: str | None
    base_model_source: str | None
    base_model_confidence: float | None = Field(
        description="How sure that is, from 0 to 1; 1 where a person said it."
    )
    source_model_id: str | None = Field(description="Number of the model at its provider.")
    source_version_id: str | None = Field(description="Number of this version at its provider.")
    rank: int | None
    alpha: float | None
    file_sha256_state: str
    autov2: str | None
    autov3: str | None
    favorite: bool
    rating: int | None
    notes: str | None
    negative_prompt: str | None
    weight_min: float | None
    weight_max: float | None
    weight_te: float | None
    trigger_groups: list[TriggerGroup]
    chosen_groups: list[str] = Field(
        description="Names of the optional trigger groups that the active set uses."
    )
    preview_url: str | None = Field(
        description="Address of the preview, if there is one; `&width=256` gives a small copy."
    )
    file_state: Literal["present", "missing", "changed"]
    file_problem: str | None = Field(description="Why the file cannot be read, if it cannot.")
    prompt_name: str | None = Field(description="What SD.Next resolves to this very file.")
    prompt_name_problem: str | None
    use_count: int = Field(description="Generations that it really took part in.")
    last_used_at: str | None = Field(description="End of the last of them.")


class AdapterAnswer(BaseModel):
    """One adapter."""

    adapter: AdapterRecord


class AdapterPage(BaseModel):
    """One page of a list: `total` counts the library, `filtered` what the query leaves."""

    items: list[AdapterRecord]
    total: int
    filtered: int
    page: int
    pages: int
    per_page: int


class TagsAnswer(BaseModel):
    """All tags in use, sorted without case."""

    tags: list[str]


class FacetValue(BaseModel):
    """One value of a filter, and how many adapters it would leave."""

    value: str | int | bool | None
    count: int


class FacetCounts(BaseModel):
    """The values of each filter; a rating of nobody is 0."""

    base_model: list[FacetValue]
    network_type: list[FacetValue]
    favorite: list[FacetValue]
    active: list[FacetValue]
    file_state: list[FacetValue]
    rating: list[FacetValue]
    nsfw_level: list[FacetValue]
    folder: list[FacetValue]
    tags: list[FacetValue]
    untagged: int = Field(description="How many have no tag.")


class FacetsAnswer(BaseModel):
    """What could be filtered by: every filter counted under all the others, not under itself."""

    total: int
    filtered: int
    facets: FacetCounts


class BulkAnswer(BaseModel):
    """What a bulk call did."""

    success: bool
    action: str
    processed: int
    ids: list[str]
    undo_id: str | None = Field(description="Takes it back (`/adapters/undo`); null: no change.")
