"""Civitai as a provider, over its documented REST API.

Sources: https://developer.civitai.com/site/reference/model-versions
(`GET /api/v1/model-versions/by-hash/{hash}`), https://developer.civitai.com/site/reference/models
(`GET /api/v1/models/{id}`, which has tags, description and creator), both with a token as
`Authorization: Bearer`, and https://developer.civitai.com/site/guide/errors (404, 401, 429).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lora_manager_core.common.quoted import quoted
from lora_manager_core.library.lookups.base import (
    ProviderBusy,
    ProviderRefused,
    ProviderUnavailable,
)
from lora_manager_core.library.previews.kinds import MAX_BYTES
from lora_manager_core.library.side_json import read_object

if TYPE_CHECKING:
    import httpx

_MOST_JSON_BYTES = 8 * 2**20
#: Models remembered: the versions of one model tend to lie side by side.
_REMEMBERED = 64
_CONNECT_S, _READ_S = 10.0, 30.0
#: How long to wait where the provider does not say, and the longest that is believed, in seconds.
_WAIT_S, _LONGEST_WAIT_S = 30.0, 900.0
_OF_MODEL = ("name", "description", "tags", "type", "nsfw", "nsfwLevel", "poi")


class CivitaiProvider:
    """`key` is an API key of Civitai, without which some files are not told of."""

    name = "civitai"

    def __init__(self, url: str, key: str | None = None, pause_s: float = 1.0) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self.pause_s = pause_s
        self._client: httpx.Client | None = None
        self._models: OrderedDict[int, Mapping[str, Any] | None] = OrderedDict()

    def find(self, sha256: str) -> Mapping[str, Any] | None:
        """The version with a file of that hash, with what its model says added; see the port."""
        version = self._ask(f"/api/v1/model-versions/by-hash/{sha256}")
        if version is None:
            return None
        model_id = version.get("modelId")
        if isinstance(model_id, int) and not isinstance(model_id, bool):
            model = self._model(model_id)
            if model is not None:
                short = version.get("model")
                told = {name: model[name] for name in _OF_MODEL if name in model}
                version["model"] = {**(short if isinstance(short, dict) else {}), **told}
                version.setdefault("creator", model.get("creator"))
        return version

    def picture(self, url: str) -> bytes:
        """See the port; only from the provider's own servers."""
        own, other = urlsplit(self._url), urlsplit(url)
        host = own.hostname or ""
        its = other.hostname == host or (other.hostname or "").endswith(f".{host}")
        if other.scheme not in ("https", own.scheme) or not its:
            raise ProviderRefused(f"The picture does not lie on {host}; it was not fetched.")
        status, _, body = self._get(url, MAX_BYTES, with_key=False)
        if status != 200:
            raise ProviderUnavailable(f"The picture could not be fetched (status {status}).")
        return body

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _model(self, model_id: int) -> Mapping[str, Any] | None:
        if model_id not in self._models:
            time.sleep(self.pause_s)
            self._models[model_id] = self._ask(f"/api/v1/models/{model_id}")
            while len(self._models) > _REMEMBERED:
                self._models.popitem(last=False)
        return self._models[model_id]

    def _ask(self, path: str) -> dict[str, Any] | None:
        """The JSON object at a path; None if there is none (404)."""
        status, wait, body = self._get(self._url + path, _MOST_JSON_BYTES)
        if status == 404:
            return None
        if status in (401, 403):
            raise ProviderRefused(
                f"{self._url} refuses our requests (status {status}). Correct CIVITAI_KEY, or "
                "remove it."
            )
        if status == 429:
            raise ProviderBusy(
                f"{self._url} asks us to wait {_wait_s(wait):.0f} seconds.", _wait_s(wait)
            )
        if status >= 500:
            raise ProviderUnavailable(f"{self._url} fails (status {status}); try again later.")
        document = read_object(body, "the answer", []) if status == 200 else None
        if document is None:
            raise ProviderRefused(
                f"{self._url} does not answer as Civitai does (status {status}); correct "
                "CIVITAI_URL."
            )
        return document

    def _get(self, url: str, limit: int, with_key: bool = True) -> tuple[int, str, bytes]:
        """Status, `Retry-After` and body."""
        import httpx

        if self._client is None:
            self._client = httpx.Client(
                timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S),
                headers={"Accept": "application/json, image/*, video/*"},
            )
        headers = {"Authorization": f"Bearer {self._key}"} if self._key and with_key else {}
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > limit:
                        raise ProviderUnavailable(
                            f"An answer of {self._url} is larger than {limit >> 20} MiB."
                        )
                return response.status_code, response.headers.get("retry-after", ""), bytes(body)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ProviderRefused(
                f"{self._url} is no address of a server; CIVITAI_URL must look like "
                "https://civitai.com."
            ) from error
        except (httpx.HTTPError, RuntimeError) as error:
            raise ProviderUnavailable(
                f"{self._url} cannot be reached ({quoted(str(error)) or type(error).__name__}). "
                "Look-ups go on when it answers again."
            ) from error


def _wait_s(retry_after: str) -> float:
    """The seconds that `Retry-After` asks for, given as seconds or as a date (RFC 9110, 10.2.3)."""
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
            if until.tzinfo is None:
                until = until.replace(tzinfo=timezone.utc)
            wait = (until - datetime.now(timezone.utc)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            wait = _WAIT_S
    return min(max(wait, 0.0), _LONGEST_WAIT_S) if wait == wait else _WAIT_S
