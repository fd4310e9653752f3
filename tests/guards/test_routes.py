"""Routes do not block the event loop, and reach the database through services only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lora_manager_core

_CORE = Path(lora_manager_core.__file__).parent
ROUTES = sorted(_CORE.glob("*/*routes.py"))
#: Sockets are asynchronous by nature; nothing else of ours is.
_ASYNC_FEATURE = "progress"
_BANNED = ("sqlalchemy", "lora_manager_core.db")

_ASYNC = (
    "`async def {name}` (line {line}) runs on the event loop, and the services it calls block it: "
    "one slow query would stop every request and every socket. Write `def {name}`; FastAPI then "
    "runs it on a worker thread. Only the sockets in progress/ are asynchronous."
)
_DATABASE = (
    "line {line} imports {name}. A route reads its input, calls one service method and returns: "
    "move the query into the feature's repository.py and call it from service.py."
)


def _violations(source: str, *, may_be_async: bool = False) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AsyncFunctionDef) and not may_be_async:
            yield _ASYNC.format(name=node.name, line=node.lineno)
        for name in _imported(node):
            if any(name == banned or name.startswith(f"{banned}.") for banned in _BANNED):
                yield _DATABASE.format(name=name, line=node.lineno)  # type: ignore[attr-defined]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module == "lora_manager_core":
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_there_are_routes_to_look_at() -> None:
    assert ROUTES


@pytest.mark.parametrize("path", ROUTES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_routes_keep_the_rules(path: Path) -> None:
    problems = list(
        _violations(
            path.read_text(encoding="utf-8"), may_be_async=path.parent.name == _ASYNC_FEATURE
        )
    )

    assert problems == [], "\n".join(f"{path.parent.name}/{path.name}: {p}" for p in problems)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param("async def list_things(): ...", "Write `def list_things`", id="async"),
        pytest.param("import sqlalchemy.orm", "imports sqlalchemy.orm", id="sqlalchemy"),
        pytest.param("from sqlalchemy import select", "imports sqlalchemy", id="from-sqlalchemy"),
        pytest.param(
            "from lora_manager_core.db.models import Job", "imports lora_manager_core.db", id="db"
        ),
        pytest.param("from lora_manager_core import db", "lora_manager_core.db", id="db-by-name"),
    ],
)
def test_the_guard_sees_what_it_is_for(source: str, says: str) -> None:
    assert any(says in problem for problem in _violations(source))


def test_the_guard_lets_a_good_route_pass() -> None:
    good = "from lora_manager_core.dbx import y\ndef list_things(service): return service.list()"

    assert list(_violations(good)) == []
