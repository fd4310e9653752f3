"""The delivery mode `cli`: a prompt becomes a file in the outbox, where another program waits."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lora_manager_core.common.files import remove_files, write_whole
from lora_manager_core.common.schema import RequestModel
from lora_manager_core.deliveries.modes import Accepted, DeliveryMode, checked
from lora_manager_core.errors import DeliveryFailed, Unprocessable
from lora_manager_core.queueing.base import JobContext, JobOutcome
from lora_manager_core.queueing.runner import JobRunner

_PLACE = "{prompt}"
#: A folder of the outbox for what is not finished yet.
_UNFINISHED = ".unfinished"
_LONGEST_TEXT = 1_000_000


class FileParams(RequestModel):
    """How to write the prompt."""

    template: Annotated[str, Field(max_length=100_000)] = Field(
        _PLACE, description="`{prompt}` in it stands for the prompt; nothing else is replaced."
    )


class FileMode(DeliveryMode):
    """Parameters: `FileParams`. The file is `<delivery id>.txt`, in UTF-8."""

    name = "cli"
    kind = "delivery.cli"

    def __init__(self, runner: JobRunner, outbox: Path) -> None:
        self._outbox = outbox
        runner.register(self.kind, self.run)

    def accept(self, prompt: str, params: Mapping[str, Any]) -> Accepted:
        """Check the template, and that the text stays of a sensible size."""
        template = checked(FileParams, params).template
        places = template.count(_PLACE)
        if not places:
            raise Unprocessable("The template has no {prompt}, so the prompt would be lost.")
        length = len(template) + places * (len(prompt) - len(_PLACE))
        if length > _LONGEST_TEXT:
            raise Unprocessable(
                f"The text would have {length:,} characters; {_LONGEST_TEXT:,} are allowed. "
                "Use {prompt} less often in the template."
            )
        return Accepted({"prompt": prompt, "params": {"template": template}})

    def describe(self, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Prompt and template."""
        return payload["prompt"], payload["params"]

    def run(self, context: JobContext) -> JobOutcome:
        """Write the file; gives `{status, detail, file_path}`.

        The name comes from the delivery, so that a second try replaces what a first one wrote.
        """
        text = context.payload["params"]["template"].replace(_PLACE, context.payload["prompt"])
        path = self._outbox / f"{context.job_id}.txt"
        context.raise_if_cancelled()
        try:
            write_whole(path, text.encode(), self._outbox / _UNFINISHED)
        except OSError as error:
            raise _refused(self._outbox, error) from error

        def _undo() -> None:
            remove_files([path])

        return JobOutcome(
            {
                "status": "delivered",
                "detail": f"The prompt was written to {path.name} in the outbox.",
                "file_path": str(path),
            },
            undo=_undo,
        )


def _refused(outbox: Path, error: OSError) -> DeliveryFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DeliveryFailed("The disk of the outbox is full; free some space and retry.")
    return DeliveryFailed(
        f"The prompt could not be written to the outbox {outbox}: {error.strerror}. "
        "Make that folder writable, or set another one (LORA_MANAGER_OUTBOX_DIR)."
    )
