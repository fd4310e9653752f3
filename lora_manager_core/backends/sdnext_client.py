"""One connection to a remote SD.Next: sends a request, bounds the answer, names what went wrong.

What the answers mean is `sdnext_http`'s business. Redirects are not followed, so that a login is
never sent to another host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from lora_manager_core.common.quoted import quoted
from lora_manager_core.errors import (
    BackendLoginRefused,
    BackendUnavailable,
    GenerationFailed,
    LoraManagerError,
    OutOfMemory,
)

#: Answers other than pictures; the host's job history holds up to 10,000 entries of 150 bytes.
_SMALL_BYTES = 16 * 2**20


class SdnextUnreachable(BackendUnavailable):
    """No connection came about: nobody listens there, or the machine is gone."""


@dataclass(frozen=True, slots=True)
class SdnextAnswer:
    """What came back, read in full; `address` is the server's, for messages."""

    address: str
    status: int
    content_type: str
    location: str
    body: bytes | bytearray

    @property
    def is_html(self) -> bool:
        """Whether it is a page for people: SD.Next's API never sends one."""
        return "html" in self.content_type or self.body[:64].lstrip()[:1] == b"<"

    def json(self) -> Any:
        """The decoded body; raises GenerationFailed where it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise GenerationFailed(
                f"{self.address} answered with {'a web page' if self.is_html else 'something'} "
                "instead of JSON. Check that SDNEXT_URL is SD.Next itself and not a proxy's page."
            ) from None

    def message(self) -> str:
        """What the host says about a failure, as one short line of plain text."""
        text = bytes(self.body[:8192]).decode("utf-8", "replace")
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = text
        if isinstance(said, dict):
            # `errors` first: for an exception of the host's own, `detail` is empty
            said = next((said[key] for key in ("errors", "detail", "error") if said.get(key)), said)
        return quoted(said if isinstance(said, str) else json.dumps(said))

    def refusal(self) -> LoraManagerError | None:
        """The failure behind any status but success; None for 2xx."""
        if 200 <= self.status < 300:
            return None
        if self.status in (401, 403):
            return BackendLoginRefused(
                f"SD.Next at {self.address} refuses the login: set SDNEXT_USER and "
                "SDNEXT_PASSWORD to what its --auth names."
            )
        if 300 <= self.status < 400:
            return BackendUnavailable(
                f"{self.address} sends us on to {quoted(self.location) or 'another address'}: "
                "set SDNEXT_URL to where SD.Next really is (with its --subpath, if it has one)."
            )
        if self.status == 404:
            if self.is_html:
                return _not_sdnext(self.address)
            return BackendUnavailable(
                f"SD.Next at {self.address} is starting: its API is not there yet. Try again in "
                "a minute; if that does not help, SDNEXT_URL points at another program."
            )
        if self.status == 429:
            return GenerationFailed(
                f"SD.Next at {self.address} was asked too often in a minute. Wait, or raise "
                "`server_rate_limit` in its settings."
            )
        said = self.message()
        if is_out_of_memory(said):
            return out_of_memory(self.address)
        if self.status in (502, 503, 504):
            return BackendUnavailable(
                f"SD.Next at {self.address} cannot be reached right now (HTTP {self.status})."
            )
        verb = "failed" if self.status >= 500 else "refused the request"
        return GenerationFailed(f"SD.Next {verb} (HTTP {self.status}): {said}")


class SdnextClient:
    """Requests to one SD.Next; the connection opens with the first one and after each `close`."""

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url if "://" in url else f"http://{url}"
        self._auth = (user, password or "") if user else None
        self._transport = transport
        self._client: httpx.Client | None = None
        self.address = _without_login(self._url)

    def send(
        self,
        method: str,
        path: str,
        payload: Mapping[str, Any] | None = None,
        *,
        connect_s: float = 5.0,
        read_s: float | None = 10.0,
        limit_bytes: int = _SMALL_BYTES,
    ) -> SdnextAnswer:
        """The answer, whatever its status; `read_s` is the longest silence, None for any.

        Raises:
            SdnextUnreachable: no connection.
            BackendUnavailable: the connection broke, or stayed silent for longer than `read_s`.
            GenerationFailed: the answer is larger than `limit_bytes`, or damaged on its way.
        """
        timeout = httpx.Timeout(60.0, connect=connect_s, read=read_s)
        try:
            with self._open().stream(method, path, json=payload, timeout=timeout) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > limit_bytes:
                        raise GenerationFailed(
                            f"SD.Next at {self.address} sent more than {limit_bytes >> 20} MiB. "
                            "Ask for fewer or smaller pictures at once."
                        )
                return SdnextAnswer(
                    address=self.address,
                    status=response.status_code,
                    content_type=response.headers.get("content-type", "").lower(),
                    location=response.headers.get("location", ""),
                    body=body,
                )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise SdnextUnreachable(
                f"Nothing answers at {self.address} ({quoted(str(error)) or 'time-out'}). "
                "Start SD.Next, or correct SDNEXT_URL."
            ) from error
        except httpx.TimeoutException as error:
            raise BackendUnavailable(
                f"SD.Next at {self.address} took the connection and then said nothing for "
                f"{read_s} s. It may be starting or loading a model; try again in a minute."
            ) from error
        except httpx.DecodingError as error:
            raise GenerationFailed(f"The answer of {self.address} came damaged.") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise BackendUnavailable(
                f"{self.address} is not the address of an SD.Next; SDNEXT_URL must look like "
                "http://127.0.0.1:7860."
            ) from error
        # a RuntimeError is httpx's word for a client that was closed meanwhile
        except (httpx.HTTPError, RuntimeError) as error:
            raise BackendUnavailable(
                f"SD.Next at {self.address} dropped the connection. It may have stopped or "
                "restarted: look at its log, then try again."
            ) from error

    def ask(
        self, method: str, path: str, *, connect_s: float = 5.0, read_s: float | None = 10.0
    ) -> Any:
        """The decoded answer; None for no news: 429 of the rate limit, silence, all other trouble.

        Raises:
            SdnextUnreachable: no connection.
        """
        try:
            answer = self.send(method, path, connect_s=connect_s, read_s=read_s)
            return answer.json() if answer.status == 200 else None
        except SdnextUnreachable:
            raise
        except LoraManagerError:
            return None

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _open(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(
                base_url=self._url,
                auth=self._auth,
                transport=self._transport,
                # a proxy of the environment would give up on a long picture; no login from .netrc
                trust_env=False,
                # loading certificates takes a third of a second, and plain HTTP uses none
                verify=not self._url.lower().startswith("http:"),
                # the host would gzip megabytes of base64 at its highest level
                headers={"Accept-Encoding": "identity"},
            )
        return self._client


def not_sdnext(answer: SdnextAnswer) -> BackendUnavailable:
    """For an answer with status 200 that SD.Next would not give."""
    return _not_sdnext(answer.address)


def is_out_of_memory(text: str) -> bool:
    """Whether an error message is torch's, or the system's, about memory."""
    text = text.lower()
    return "out of memory" in text or "outofmemory" in text or "not enough memory" in text


def out_of_memory(address: str) -> OutOfMemory:
    """What to tell the user when the host's device was full."""
    return OutOfMemory(
        f"SD.Next at {address} ran out of memory. Make the picture smaller, or lower the batch "
        "size and raise the batch count instead."
    )


def _not_sdnext(address: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"{address} is not an SD.Next: another program answers there. Correct SDNEXT_URL."
    )


def _without_login(url: str) -> str:
    """The address as it may be shown: `http://user:secret@host` loses the part before the `@`."""
    return re.sub(r"//[^/?#]*@", "//", url).rstrip("/")
