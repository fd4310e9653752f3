"""Posts a prompt to addresses that were checked, and reads a bounded answer.

Nothing here looks a name up, follows a redirect, or asks the environment for a proxy: what is
connected to is one of the addresses given. A waiting read looks several times a second whether it
is to stop.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import httpcore

from lora_manager_core.common.quoted import quoted
from lora_manager_core.deliveries.targets import Target, bracketed
from lora_manager_core.errors import DeliveryFailed, TargetUnavailable

#: How long a read waits before it looks whether it is to stop.
_LOOK_S = 0.2
#: How much is written before that.
_SLICE_BYTES = 16_384
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a target may take to connect, be silent and take in all; how much it may answer."""

    connect_s: float = 10.0
    silent_s: float = 30.0
    whole_s: float = 120.0
    answer_bytes: int = 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """What the target said; `location` is where a redirect points to."""

    status: int
    text: str
    location: str


def post(
    scheme: str,
    target: Target,
    path: str,
    content: bytes,
    headers: Mapping[bytes | str, bytes | str],
    addresses: Sequence[str],
    raise_if_cancelled: Callable[[], None],
    bounds: Bounds,
    trust: ssl.SSLContext | None = None,
) -> Answer:
    """Send `content` and read the answer; whatever `raise_if_cancelled` raises ends it.

    `trust` replaces the certificate authorities of this machine.

    Raises:
        TargetUnavailable: nothing answers, too slowly, or the connection broke.
        DeliveryFailed: the answer is too large, or the certificate is not valid.
    """
    network = _Pinned(addresses, _Watch(target, raise_if_cancelled, bounds))
    host = bracketed(target.host) if target.port == _PORTS[scheme] else str(target)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=trust, network_backend=network) as pool,
            pool.stream(
                "POST",
                httpcore.URL(
                    scheme=scheme.encode(),
                    host=target.host.encode(),
                    port=target.port,
                    target=path.encode(),
                ),
                headers={
                    "Host": host,
                    "Content-Length": str(len(content)),
                    "Accept-Encoding": "identity",
                    "Connection": "close",
                    **headers,
                },
                content=content,
                extensions={"timeout": {"connect": bounds.connect_s, "write": bounds.silent_s}},
            ) as response,
        ):
            return Answer(
                response.status,
                _read(response, target, bounds.answer_bytes),
                _header(response, b"location"),
            )
    except httpcore.TimeoutException as error:
        raise TargetUnavailable(f"{target} did not answer in time.") from error
    except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        raise TargetUnavailable(f"{target} cannot be reached: {quoted(str(error))}.") from error


def _read(response: httpcore.Response, target: Target, most: int) -> str:
    said = bytearray()
    for part in response.iter_stream():
        said += part
        if len(said) > most:
            raise DeliveryFailed(
                f"{target} answered {response.status} with more than {most:,} bytes; "
                "the rest was not read."
            )
    return said.decode(errors="replace")


def _header(response: httpcore.Response, name: bytes) -> str:
    found = [value for key, value in response.headers if key.lower() == name]
    return found[0].decode("latin-1") if found else ""


class _Watch:
    """Ends an exchange that is cancelled or takes too long in all."""

    def __init__(
        self, target: Target, raise_if_cancelled: Callable[[], None], bounds: Bounds
    ) -> None:
        self.silent_s = bounds.silent_s
        self._target = target
        self._raise_if_cancelled = raise_if_cancelled
        self._whole_s = bounds.whole_s
        self._end = time.monotonic() + bounds.whole_s

    def look(self) -> None:
        self._raise_if_cancelled()
        if time.monotonic() > self._end:
            raise TargetUnavailable(
                f"{self._target} did not end its answer within {self._whole_s:g} seconds."
            )


class _Pinned(httpcore.NetworkBackend):
    """Connects to the first of the given addresses that answers, whatever the host is called."""

    def __init__(self, addresses: Sequence[str], watch: _Watch) -> None:
        self._addresses = addresses
        self._watch = watch
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in self._addresses:
            self._watch.look()
            try:
                stream = self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Watched(stream, self._watch)
        raise failure or httpcore.ConnectError(f"{host} has no address")


class _Watched(httpcore.NetworkStream):
    """A connection whose waiting reads look up now and then."""

    def __init__(self, stream: httpcore.NetworkStream, watch: _Watch) -> None:
        self._stream = stream
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        give_up_at = time.monotonic() + self._watch.silent_s
        while True:
            self._watch.look()
            try:
                return self._stream.read(max_bytes, timeout=_LOOK_S)
            except httpcore.ReadTimeout:
                if time.monotonic() > give_up_at:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _SLICE_BYTES):
            self._watch.look()
            self._stream.write(buffer[start : start + _SLICE_BYTES], timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                reason = error.__cause__.verify_message
                raise DeliveryFailed(
                    f"{server_hostname} has no valid certificate: {reason}"
                ) from error
            raise
        return _Watched(stream, self._watch)
