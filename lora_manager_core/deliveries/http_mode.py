"""The delivery mode `http`: a prompt is posted as JSON to a host on the allow-list."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import Field, field_validator

from lora_manager_core import __version__
from lora_manager_core.common.quoted import quoted
from lora_manager_core.common.schema import RequestModel
from lora_manager_core.deliveries.modes import Accepted, DeliveryMode, checked
from lora_manager_core.deliveries.targets import AllowedTargets, Target, canonical_host
from lora_manager_core.errors import DeliveryFailed, TargetUnavailable
from lora_manager_core.queueing.base import JobContext, JobOutcome
from lora_manager_core.queueing.runner import JobRunner

if TYPE_CHECKING:
    from lora_manager_core.deliveries.posting import Answer, Bounds

#: Host and port → its addresses as text.
Resolve = Callable[[str, int], Sequence[str]]

#: Answers that say "not now": too many requests, and a server behind a gateway that is not up.
_MAY_PASS = frozenset((429, 502, 503, 504))
#: How much of an answer is kept with the delivery.
_KEPT_CHARACTERS = 10_000
_PATH = re.compile(r"/[\x21-\x7e]*")


class HttpParams(RequestModel):
    """Where to post to."""

    host: Annotated[str, Field(min_length=1, max_length=300)]
    port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        None, description="80, or 443 with https."
    )
    path: Annotated[str, Field(max_length=4000)] = "/"
    scheme: Literal["http", "https"] = "http"

    @field_validator("host")
    @classmethod
    def _canonical(cls, host: str) -> str:
        return canonical_host(host)

    @field_validator("path")
    @classmethod
    def _plain(cls, path: str) -> str:
        if not _PATH.fullmatch(path) or "#" in path:
            raise ValueError(
                "the path begins with / and holds printable ASCII without blanks and #; "
                "percent-encode anything else"
            )
        return path

    @property
    def target(self) -> Target:
        """Host and port."""
        return Target(self.host, self.port or (443 if self.scheme == "https" else 80))


def resolve_host(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system gives them.

    Raises:
        TargetUnavailable: the name server cannot say just now.
        DeliveryFailed: there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        kind = TargetUnavailable if error.errno == socket.EAI_AGAIN else DeliveryFailed
        raise kind(f"The address of {host} was not found: {error.strerror}.") from error
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


class HttpMode(DeliveryMode):
    """Parameters: `HttpParams`. The target's answer is kept with the delivery."""

    name = "http"
    kind = "delivery.http"

    def __init__(
        self,
        runner: JobRunner,
        targets: AllowedTargets,
        resolve: Resolve = resolve_host,
        bounds: Bounds | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._targets = targets
        self._resolve = resolve
        self._bounds = bounds
        self._trust = trust
        runner.register(self.kind, self.run)

    def accept(self, prompt: str, params: Mapping[str, Any]) -> Accepted:
        """Check the parameters and the allow-list; addresses are looked up when it is sent."""
        given = checked(HttpParams, params)
        self._targets.require(given.target)
        return Accepted({"prompt": prompt, "params": given.model_dump()})

    def describe(self, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Prompt and parameters, with the port in force."""
        given = checked(HttpParams, payload["params"])
        return payload["prompt"], {**given.model_dump(), "port": given.target.port}

    def run(self, context: JobContext) -> JobOutcome:
        """Post the prompt; gives `{status, status_code, body, body_cut}`."""
        # Here, because httpcore would cost every start.
        from lora_manager_core.deliveries.posting import Bounds, post

        given = checked(HttpParams, context.payload["params"])
        target = given.target
        self._targets.require(target)  # the list may have changed since it was accepted
        addresses = self._resolve(target.host, target.port)
        self._targets.require_addresses(target, addresses)
        answer = post(
            given.scheme,
            target,
            given.path,
            orjson.dumps({"prompt": context.payload["prompt"]}),
            {
                "Content-Type": "application/json",
                "User-Agent": f"lora-manager/{__version__}",
                # So that a target can tell a second try from a second prompt.
                "Idempotency-Key": f'"{context.job_id}"',
            },
            addresses,
            context.raise_if_cancelled,
            self._bounds or Bounds(),
            self._trust,
        )
        _require_success(target, answer)
        return JobOutcome(
            {
                "status": "delivered",
                "status_code": answer.status,
                "body": answer.text[:_KEPT_CHARACTERS] or None,
                "body_cut": len(answer.text) > _KEPT_CHARACTERS,
            }
        )


def _require_success(target: Target, answer: Answer) -> None:
    if 200 <= answer.status < 300:
        return
    if 300 <= answer.status < 400:
        raise DeliveryFailed(
            f"{target} answered {answer.status} and points to "
            f"{quoted(answer.location) or 'nowhere'}. Redirects are not followed; deliver to the "
            "right address."
        )
    said = f"{target} answered {answer.status}: {quoted(answer.text) or 'nothing else'}"
    raise (TargetUnavailable if answer.status in _MAY_PASS else DeliveryFailed)(said)
