"""What goes in and out of the routes about adapters that are alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

#: How the weights of two files stand to each other, see `recommendations.sets.classes`.
Relation = Literal["near_duplicate", "lineage", "related", "unrelated", "opposed"]
EqualKind = Literal["equal", "moved"]
AlikeKind = Literal["near_duplicate", "lineage"]


class PageQuery(BaseModel):
    """Which part of the groups."""

    model_config = ConfigDict(extra="forbid")

    page: Annotated[int, Field(ge=1, le=10**9)] = 1
    per_page: Annotated[int, Field(ge=1, le=1000)] = 24


class DuplicatesQuery(PageQuery):
    """Which groups, and which part of them."""

    by: Literal["hash", "weights"] = Field(
        "hash", description="Compare whole files, or the weights in them."
    )
    kind: EqualKind | AlikeKind | None = Field(
        None,
        description="By hash: `equal` files, or `moved` ones, whose file is there under a new "
        "record while an older one of it, which people changed too, misses it. By weights: "
        "`near_duplicate`, or `lineage`.",
    )


class GroupMember(BaseModel):
    """One adapter of a group, with what helps to decide which one to keep."""

    lora_id: str
    lora_name: str
    file_path: str
    file_size: int
    file_state: str
    touched: bool = Field(description="Whether people changed the record, or use it.")
    active: bool
    use_count: int
    created_at: str
    layout: str | None = Field(description="Kind of network.")
    base_model: str | None
    rank: int | None
    r95: float | None = Field(description="By weights: rank that holds 95 % of its energy.")
    norm: float | None = Field(description="By weights.")


class GroupPair(BaseModel):
    """Two adapters of a group that was found by weights."""

    lora_ids: list[str]
    cosine: float
    relation: Relation


class DuplicateGroup(BaseModel):
    """Adapters each of which is like another one of the group."""

    kind: EqualKind | AlikeKind
    members: list[GroupMember]
    sha256: str | None = Field(description="By hash: that of all of them.")
    wasted_bytes: int | None = Field(description="By hash: what all files but one take.")
    pairs: list[GroupPair] = Field(description="By weights: the most alike first, at most 100.")
    pairs_total: int


class DuplicatesAnswer(BaseModel):
    """Groups of adapters that are the same, or nearly; those that waste most come first.

    By weights near-duplicates come first, then lineages, the largest groups of each first.
    """

    items: list[DuplicateGroup]
    total: int
    filtered: int
    page: int
    pages: int
    per_page: int
    compared: int = Field(description="Adapters whose files, or weights, were looked at.")
    not_compared: int = Field(description="Those that were not yet, or cannot be.")
    wasted_bytes: int | None = Field(description="By hash: of all groups together.")
    uncertainty: float | None = Field(
        description="By weights: one standard deviation of the cosines."
    )


class ConflictMember(BaseModel):
    """One of the files that share a name: either a token that is its own, or a way to get one."""

    lora_id: str
    lora_name: str
    file_path: str
    prompt_name: str | None = Field(description="What resolves to this very file.")
    token: str | None = Field(description="The same as a token, with the record's weight.")
    problem: str | None = Field(description="Why there is no such name.")
    rename_to: str | None = Field(
        description="Where there is none: a file name, in the same folder, that no other has."
    )


class ConflictGroup(BaseModel):
    """Files that share one name in prompts."""

    name: str
    members: list[ConflictMember]


class ConflictsAnswer(BaseModel):
    """Files of one name, by that name."""

    items: list[ConflictGroup]
    total: int
    page: int
    pages: int
    per_page: int


class VersionsQuery(PageQuery):
    """By which evidence, and which part of the models."""

    evidence: Literal["source", "name"] | None = Field(
        None, description="`source`: one model at Civitai. `name`: names that differ in a version."
    )


class ModelVersion(BaseModel):
    """One version of a model, as a file of the library."""

    lora_id: str
    lora_name: str
    file_path: str
    file_size: int
    base_model: str | None
    version: str | None = Field(description="What tells it from the others.")
    published_at: str | None
    is_newest: bool


class ModelVersions(BaseModel):
    """A model of which there are several versions; the newest first."""

    evidence: Literal["source", "name"] = Field(
        description="`source`: they are versions of one model at Civitai. `name` is weaker: their "
        "names differ in nothing but a version, and their base models are the same."
    )
    name: str
    source_model_id: str | None
    versions: list[ModelVersion]


class VersionsAnswer(BaseModel):
    """Models with several versions in the library; those that a source tells of come first."""

    items: list[ModelVersions]
    total: int
    filtered: int
    page: int
    pages: int
    per_page: int
