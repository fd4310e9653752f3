"""What goes in and out of the route that writes side files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lora_manager_core.library.chosen import ChosenAdapters


class SideFilesRequest(ChosenAdapters):
    """Which adapters to write, for which programs, and what about files that are there."""

    formats: Annotated[
        list[Literal["civitai.info", "json", "metadata.json"]], Field(min_length=1, max_length=3)
    ] = Field(description="`json` is that of A1111 and SD.Next; `metadata.json` LoRA Manager's.")
    overwrite: Literal["never", "merge"] = Field(
        "never",
        description="`merge` adds what a file lacks and what people set here; the rest stays.",
    )


class SideFilesStarted(BaseModel):
    """The job that writes; its result tells what became of each file."""

    job_id: str
    status: str
