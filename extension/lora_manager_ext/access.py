"""Inside SD.Next: whoever it would let in may call, or whoever holds a key of ours.

The host's own check covers only its own routes, so the same answer is given here: HTTP Basic
against the users of `--auth` (a login token counts as password, as in its page's `authFetch`), or
Gradio's login cookie.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping

from starlette.requests import HTTPConnection

from lora_manager_core.errors import NotAuthenticated
from lora_manager_core.web.access import Access, require_same_origin
from lora_manager_core.web.keys import ApiKeys

#: Gradio's login cookies; the second one is set over plain HTTP.
_COOKIES = ("access-token", "access-token-unsecure")


class HostAccess(Access):
    """`credentials` are the users of `--auth`, `tokens` Gradio's: login token → user."""

    def __init__(
        self,
        keys: ApiKeys,
        needs_login: Callable[[], bool],
        credentials: Callable[[], Mapping[str, str]],
        tokens: Callable[[], Mapping[str, str]],
    ) -> None:
        super().__init__(keys)
        self._needs_login = needs_login
        self._credentials = credentials
        self._tokens = tokens

    def check_home(self, connection: HTTPConnection) -> None:
        """Without `--auth` everyone, from the same site; with it, who is logged in."""
        if not self._needs_login():
            require_same_origin(connection)
            return
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            if self._user_named_in(authorization) is None:
                raise NotAuthenticated("SD.Next does not know this user and password.")
            require_same_origin(connection)  # a browser adds known passwords on its own
            return
        tokens = self._tokens()
        if any(connection.cookies.get(name, "") in tokens for name in _COOKIES):
            require_same_origin(connection, must_be_given=True)
            return
        raise NotAuthenticated("Log in to SD.Next, or send an API key in the X-API-Key header.")

    def user_of(self, connection: HTTPConnection) -> str:
        """The user of `--auth` who calls; a key of ours belongs to none."""
        if not self._needs_login() or "x-api-key" in connection.headers:
            return ""
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            return self._user_named_in(authorization) or ""
        tokens = self._tokens()
        users = (tokens.get(connection.cookies.get(name, "")) for name in _COOKIES)
        return next((user for user in users if user), "")

    def _user_named_in(self, authorization: str) -> str | None:
        """The user whose password, or login token, that header has."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        user, colon, password = decoded.partition(":")
        if not colon:
            return None
        # no user is told from a wrong password by the time it takes
        expected = self._credentials().get(user)
        matches = hmac.compare_digest(password.encode(), (expected or "").encode())
        knows = matches or self._tokens().get(password) == user
        return user if expected is not None and knows else None
