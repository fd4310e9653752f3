"""Pictures from a remote SD.Next over its HTTP API.

Here is what is asked of it, whether it is ready, and what its answers mean. The connection is
`sdnext_client`'s, following a running job `sdnext_job`'s, reading the pictures `sdnext_pictures`'.
What is said about the host was measured on its snapshot of 2026-07-23.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from lora_manager_core.backends.base import (
    BackendStatus,
    GenerationBackend,
    GenerationCancelled,
    GenerationRequest,
    GenerationResult,
    IsCancelled,
    PreviewsWanted,
    ProgressCallback,
    PromptName,
    nobody_looks,
)
from lora_manager_core.backends.previews import Previews
from lora_manager_core.backends.prompt_names import sdnext_prompt_names
from lora_manager_core.backends.sdnext_client import (
    SdnextAnswer,
    SdnextClient,
    SdnextUnreachable,
    is_out_of_memory,
    not_sdnext,
    out_of_memory,
)
from lora_manager_core.backends.sdnext_job import CANCEL_LOOK_S, STATUS, SdnextJob
from lora_manager_core.backends.sdnext_log import pipeline_error
from lora_manager_core.backends.sdnext_models import architecture_label
from lora_manager_core.backends.sdnext_pictures import Txt2ImgReply, read_preview
from lora_manager_core.backends.sdnext_progress import InferenceProgress
from lora_manager_core.common.quoted import quoted
from lora_manager_core.errors import BackendUnavailable, GenerationFailed, LoraManagerError

_CHECKPOINT = "/sdapi/v1/checkpoint"
_SCRIPTS = "/sdapi/v1/scripts"
#: Has the host decode the unfinished picture, unlike its status.
_PREVIEW = "/sdapi/v1/progress?skip_current_image=false"
#: With all the lines there are.
_LOG = "/sdapi/v1/log?lines=0"

#: The always-on script of our extension; its first argument is "add the active set".
_OWN_SCRIPT = "LoRA Manager"


class SdnextHttpBackend(GenerationBackend):
    """Generation on the SD.Next at `url`; one picture order at a time, as its own queue has it."""

    name = "sdnext"

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: str | None = None,
        transport: httpx.BaseTransport | None = None,
        poll_interval_s: float = 0.5,
        lost_after_s: float = 60.0,
        preview_interval_s: float = 1.0,
    ) -> None:
        self._client = SdnextClient(url, user, password, transport)
        self._poll_interval_s = poll_interval_s
        self._lost_after_s = lost_after_s
        self._preview_interval_s = preview_interval_s
        self._one_at_a_time = threading.Lock()

    def probe(self) -> BackendStatus:
        """Ask the host for its loaded model, with short time-outs."""
        try:
            checkpoint = self._checkpoint(connect_s=2.0, read_s=4.0)
        except LoraManagerError as error:
            return BackendStatus(self.name, available=False, reason=error.detail)
        name = _name_of(checkpoint)
        return BackendStatus(
            name=self.name,
            available=True,
            model=name,
            architecture=architecture_label(
                str(checkpoint.get("type") or ""), str(checkpoint.get("class") or ""), name
            ),
        )

    def generate(
        self,
        request: GenerationRequest,
        on_progress: ProgressCallback,
        is_cancelled: IsCancelled,
        previews_wanted: PreviewsWanted = nobody_looks,
    ) -> GenerationResult:
        """Make the pictures; without the host's own active set, and with exact LoRA strengths."""
        self._wait_for_turn(is_cancelled)
        try:
            model = _name_of(self._checkpoint())
            job = SdnextJob(self._client, self._poll_interval_s, self._lost_after_s)
            previews = Previews(previews_wanted, self._preview_interval_s)
            progress = InferenceProgress(
                request, on_progress, partial(previews.next, self._unfinished)
            )
            answer = job.run(self._payload(request), progress, is_cancelled)
            made = self._delivered(answer, request)
            return replace(made, info={**made.info, "model": model})
        finally:
            self._one_at_a_time.release()

    def prompt_names(self, files: Sequence[Path]) -> Mapping[Path, PromptName]:
        """SD.Next's naming rule; its LoRA folder is on the other machine and not known here."""
        return sdnext_prompt_names(files, None)

    def close(self) -> None:
        """Close the connections, after the picture in the making if there is one."""
        with self._one_at_a_time:
            self._client.close()

    def _wait_for_turn(self, is_cancelled: IsCancelled) -> None:
        while not self._one_at_a_time.acquire(timeout=CANCEL_LOOK_S):
            if is_cancelled():
                raise GenerationCancelled

    def _checkpoint(self, connect_s: float = 5.0, read_s: float = 15.0) -> Mapping[str, Any]:
        """The loaded model; raises where there is none. Ready means: the host names its model."""
        answer = self._client.send("GET", _CHECKPOINT, connect_s=connect_s, read_s=read_s)
        refusal = answer.refusal()
        if refusal is not None:
            raise refusal
        if answer.is_html:
            raise not_sdnext(answer)
        checkpoint = answer.json()
        if not isinstance(checkpoint, dict) or "type" not in checkpoint:
            raise not_sdnext(answer)
        if not _name_of(checkpoint):
            raise self._no_model()
        return checkpoint

    def _no_model(self) -> BackendUnavailable:
        status = self._told(STATUS)
        task = str(status.get("task") or "") if isinstance(status, dict) else ""
        if "load" in task.lower():
            return BackendUnavailable(
                f"SD.Next at {self._client.address} is still loading its model. Try again soon."
            )
        return BackendUnavailable(
            f"SD.Next at {self._client.address} has no model loaded: load a checkpoint there."
        )

    def _payload(self, request: GenerationRequest) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "steps": request.steps,
            "sampler_name": request.sampler_name,
            "cfg_scale": request.cfg_scale,
            "width": request.width,
            "height": request.height,
            "seed": request.seed,
            "batch_size": request.batch_size,
            "n_iter": request.n_iter,
            # Fused LoRAs come out with the strength of the job before; the option is the host's
            # own again after the job. Asking for PNG (`samples_format`) here would do nothing:
            # the host puts its options back before it encodes the pictures.
            "override_settings": {"lora_fuse_native": False},
        }
        # A host that lacks the script refuses the whole job (422). Asked each time, because the
        # host may have been restarted with or without our extension.
        if self._has_own_script():
            payload["alwayson_scripts"] = {_OWN_SCRIPT: {"args": [False]}}
        return payload

    def _has_own_script(self) -> bool:
        answer = self._client.send("GET", _SCRIPTS)
        if answer.status == 404:
            return False
        refusal = answer.refusal()
        if refusal is not None:
            raise refusal
        scripts = answer.json()
        titles = scripts.get("txt2img") if isinstance(scripts, dict) else None
        return isinstance(titles, list) and _OWN_SCRIPT.lower() in titles

    def _delivered(self, answer: SdnextAnswer, request: GenerationRequest) -> GenerationResult:
        if answer.status == 404 and "sampler" in answer.message().lower():
            raise GenerationFailed(
                f"SD.Next does not know the sampler “{request.sampler_name}”. Choose one that its "
                "own list names, or Default."
            )
        refusal = answer.refusal()
        if refusal is not None:
            raise refusal
        reply = Txt2ImgReply.read(answer.json())
        if reply.made_nothing:
            raise BackendUnavailable(
                f"SD.Next at {self._client.address} answered without a picture: it is still "
                "starting, or no model is loaded."
            )
        status = self._told(STATUS)
        interrupted = isinstance(status, dict) and status.get("status") == "interrupted"
        if interrupted or reply.is_unfinished(request):
            raise self._why_unfinished(str(reply.info.get("job_timestamp") or ""))
        return reply.result(request)

    def _why_unfinished(self, job_timestamp: str) -> LoraManagerError:
        said = pipeline_error(self._told(_LOG), job_timestamp) or ""
        if is_out_of_memory(said):
            return out_of_memory(self._client.address)
        if said:
            return GenerationFailed(f"SD.Next could not make the picture: {quoted(said)}")
        return GenerationFailed(
            "SD.Next stopped before the picture was finished: somebody interrupted it there, or "
            "its log says what went wrong."
        )

    def _unfinished(self) -> bytes | None:
        return read_preview(self._told(_PREVIEW))

    def _told(self, path: str) -> Any:
        """A further word of the host's, None where it does not come."""
        try:
            return self._client.ask("GET", path, connect_s=2.0, read_s=4.0)
        except SdnextUnreachable:
            return None


def _name_of(checkpoint: Mapping[str, Any]) -> str:
    return str(
        checkpoint.get("name") or checkpoint.get("title") or checkpoint.get("checkpoint") or ""
    )
