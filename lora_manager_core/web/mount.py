"""Mounts the API into an app we do not own, shadowing no path but those that are ours."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Match, Mount
from starlette.types import Scope

PREFIXES = ("/v1", "/api/v1")


class PoliteMount(Mount):
    """Matches only the paths that a route of the mounted app matches; others fall through."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As `Mount`, but only where the inner app has a route for it."""
        match, child_scope = super().matches(scope)
        if match is Match.NONE:
            return match, child_scope
        inner = {**scope, **child_scope}
        if any(route.matches(inner)[0] is not Match.NONE for route in self.routes):
            return match, child_scope
        return Match.NONE, {}


def mount_politely(app: FastAPI | Starlette, api: FastAPI, subpath: str = "") -> None:
    """Put the API under both prefixes, before everything else; safe to call again.

    With a `subpath` (`/sd`), under that as well.
    """
    others = [route for route in app.router.routes if not isinstance(route, PoliteMount)]
    places = [under + prefix for under in dict.fromkeys(("", subpath)) for prefix in PREFIXES]
    app.router.routes[:] = [*(PoliteMount(place, api) for place in places), *others]
