"""Who may call: keys, sessions and tickets of our own, and the rules of each home.

Routes ask `require_access`; the socket asks `Access.check` itself, since a refused socket needs
another answer. Inside SD.Next the extension provides its own `Access`.
"""

from __future__ import annotations

import secrets
import threading
import time
from abc import ABC, abstractmethod
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from starlette.requests import HTTPConnection

from lora_manager_core.errors import NotAllowed, NotAuthenticated
from lora_manager_core.web.keys import ApiKeys

SESSION_COOKIE = "lora_manager_session"
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_TICKET_S = 30.0
_SESSION_S = 7 * 24 * 3600.0


class Passes:
    """Random tokens that run out; `take` uses one up, `holds` does not."""

    def __init__(self, lifetime_s: float) -> None:
        self.lifetime_s = lifetime_s
        self._expiry: dict[str, float] = {}
        self._lock = threading.Lock()

    def issue(self) -> str:
        """A new token."""
        token = secrets.token_urlsafe(32)
        now = time.monotonic()
        with self._lock:
            self._expiry = {known: end for known, end in self._expiry.items() if end > now}
            self._expiry[token] = now + self.lifetime_s
        return token

    def holds(self, token: str | None) -> bool:
        """Whether the token is valid."""
        with self._lock:
            return self._expiry.get(token or "", 0.0) > time.monotonic()

    def take(self, token: str | None) -> bool:
        """Whether the token is valid; it is not from now on."""
        with self._lock:
            return self._expiry.pop(token or "", 0.0) > time.monotonic()


class Access(ABC):
    """The rules of one home. `check` lets a request or socket pass, or raises."""

    def __init__(self, keys: ApiKeys) -> None:
        self.keys = keys
        self.tickets = Passes(_TICKET_S)
        self.sessions = Passes(_SESSION_S)

    async def check(self, connection: HTTPConnection) -> None:
        """Let the caller pass.

        Raises:
            NotAuthenticated: credentials are needed and none that count were given.
            NotAllowed: the request comes from another site, or for another host name.
        """
        if not self.keys.is_fresh():
            await run_sync(self.keys.exist)
        key = connection.headers.get("x-api-key")
        if key is not None:
            if not self.keys.accept(key):
                raise NotAuthenticated("This API key is not valid (any more).")
            return
        is_socket = connection.scope["type"] == "websocket"
        if is_socket and self.tickets.take(connection.query_params.get("ticket")):
            return
        if self.sessions.holds(connection.cookies.get(SESSION_COOKIE)):
            require_same_origin(connection, must_be_given=True)
            return
        self.check_home(connection)

    def user_of(self, connection: HTTPConnection) -> str:
        """The name of the user who calls and was let in; empty where there are none.

        Keys and sessions of ours belong to no user.
        """
        return ""

    @abstractmethod
    def check_home(self, connection: HTTPConnection) -> None:
        """Decide on a caller without a key of ours; raises as `check` does."""


class StandAloneAccess(Access):
    """The companion server: keys if there are any, else this machine only.

    Without a key the `Host` header must name this machine, so that a web page cannot reach the
    server under a name of its own (DNS rebinding).
    """

    def __init__(self, keys: ApiKeys, bound_host: str = "127.0.0.1") -> None:
        super().__init__(keys)
        self._hosts = {"127.0.0.1", "localhost", "::1", bound_host.lower()}

    def check_home(self, connection: HTTPConnection) -> None:
        """Without keys: the right host name and origin."""
        if self.keys.exist():
            raise NotAuthenticated("Send an API key in the X-API-Key header.")
        host = _host_name(connection.headers.get("host", ""))
        if host not in self._hosts:
            raise NotAllowed(
                f"This server does not answer to the name “{host}”; use http://127.0.0.1."
            )
        require_same_origin(connection)


async def require_access(connection: HTTPConnection) -> None:
    """The dependency of every route that is not open to all."""
    access: Access = connection.app.state.access
    await access.check(connection)


def require_same_origin(connection: HTTPConnection, must_be_given: bool = False) -> None:
    """Refuse writes and sockets that another web site's page sends.

    A browser names the page's site in `Origin`. With `must_be_given` (credentials the browser adds
    on its own, such as a cookie) a missing `Origin` is refused as well.
    """
    is_socket = connection.scope["type"] == "websocket"
    if not is_socket and connection.scope["method"] in _SAFE_METHODS:
        return
    origin = connection.headers.get("origin")
    if origin is None:
        if must_be_given:
            raise NotAllowed("A request with a login cookie must say its Origin.")
        return
    if urlsplit(origin).netloc.lower() != connection.headers.get("host", "").lower():
        raise NotAllowed("Requests from other web sites are not accepted.")


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return host.lower()
