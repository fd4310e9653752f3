"""What goes in and out of the generation routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_manager_core.common.schema import Prompt, RequestModel
from lora_manager_core.compose.schemas import ComposeRequest, ComposeWarning

ReturnFormat = Literal["base64", "file_path", "url"]
Mode = Literal["immediate", "deferred"]
Status = Literal["queued", "processing", "completed", "failed", "cancelled"]
Seed = Annotated[int, Field(ge=-1, le=2**63 - 1)]


class GenerationOptions(RequestModel):
    """Everything about a picture but its prompt."""

    negative_prompt: Prompt = ""
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    sampler_name: Annotated[str, Field(min_length=1, max_length=100)] = "DPM++ 2M"
    cfg_scale: Annotated[float, Field(ge=0, le=1000)] = 7.0
    width: Annotated[int, Field(ge=16, le=16_384)] = 512
    height: Annotated[int, Field(ge=16, le=16_384)] = 512
    seed: Seed = Field(-1, description="-1: a random one.")
    batch_size: Annotated[int, Field(ge=1, le=64)] = 1
    n_iter: Annotated[int, Field(ge=1, le=64)] = 1
    denoising_strength: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def work(self) -> float:
        """How much there is to do, in megapixel steps."""
        pictures = self.batch_size * self.n_iter
        return self.width * self.height / 1e6 * self.steps * pictures


class GenerationParams(GenerationOptions):
    """One picture order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"prompt": "a fox <lora:ink_portrait:0.800>", "steps": 20, "seed": 42}
        }
    )

    prompt: Prompt


class OutputOptions(RequestModel):
    """Where a picture is made, when, and in what form it comes back."""

    model_config = ConfigDict(extra="ignore", strict=False)

    backend: str | None = Field(None, description="One of `GET /generation/backends`.")
    mode: Mode = "immediate"
    save_images: bool = True
    return_format: ReturnFormat = "base64"


class ComposedGenerationParams(GenerationOptions):
    """A picture order whose prompt is composed."""

    prompt: Prompt | None = Field(
        None, description="Stands for the composition's `prefix` where that is not given."
    )


class ComposeAndGenerateRequest(RequestModel):
    """A composition, and the pictures to make of it."""

    compose_request: ComposeRequest = Field(default_factory=ComposeRequest)
    generation_params: ComposedGenerationParams = Field(default_factory=ComposedGenerationParams)


class BackendInfo(BaseModel):
    """One backend, asked just now."""

    name: str
    available: bool
    reason: str | None
    model: str | None
    base_model: str | None
    default: bool


class BackendsAnswer(BaseModel):
    """Every registered backend."""

    backends: list[BackendInfo]


class GenerationAnswer(BaseModel):
    """A job and, once it is completed, its pictures in the format asked for."""

    job_id: str
    status: Status
    images: list[str] | None = None
    progress: float | None = None
    error_message: str | None = None
    generation_info: dict[str, Any] | None = None
    warnings: list[str] = Field(default_factory=list)
    prompt: str | None = None
    compose_warnings: list[ComposeWarning] | None = None


class ProgressAnswer(BaseModel):
    """How far one job is."""

    job_id: str
    status: Status
    progress: float
    current_step: int | None
    total_steps: int | None
    eta_seconds: float | None
    message: str | None
    error_message: str | None


class JobRecord(BaseModel):
    """One generation job, whole."""

    id: str
    prompt: str
    mode: Literal["sdnext"] = "sdnext"
    params: dict[str, Any]
    status: Status
    progress: float
    result: dict[str, Any] | None
    error: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class ActiveJob(BaseModel):
    """One job that waits or runs, in the form that lists of jobs show."""

    id: str
    jobId: str
    prompt: str
    status: Status
    progress: float = Field(description="0 to 100.")
    message: str | None
    error: str | None
    params: dict[str, Any]
    created_at: str
    startTime: str | None
    finished_at: str | None
    result: dict[str, Any] | None


class ActiveJobs(BaseModel):
    """Jobs that wait or run, oldest first."""

    jobs: list[ActiveJob]


class JobAnswer(BaseModel):
    """One job under the name that clients of this API family know."""

    delivery: JobRecord


class CancelAnswer(BaseModel):
    """The outcome of a cancel call."""

    success: bool
    status: str
    message: str
