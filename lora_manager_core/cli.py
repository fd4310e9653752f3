"""The command line: `lora-manager serve | worker | scan | key | doctor`, and `cli_archives`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_manager_core.bootstrap import build_application
from lora_manager_core.cli_archives import add_commands
from lora_manager_core.cli_jobs import started
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.queueing.base import LANES
from lora_manager_core.settings import Settings

#: How uvicorn serves. Without compression: feed messages are small, and packing each anew for every
#: socket would cost half as much again as sending it.
SERVER_OPTIONS: dict[str, Any] = {
    "log_level": "warning",
    "ws": "auto",
    "ws_per_message_deflate": False,
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = Settings(**_given(arguments))
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = ".".join(str(part) for part in problem["loc"])
            print(f"Setting {name}: {problem['msg']}", file=sys.stderr)
        return 2
    try:
        status: int = arguments.run(settings, arguments)
    except LoraManagerError as error:
        print(error.detail, file=sys.stderr)
        return 1
    return status


def serve(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Serve the page and the API until stopped."""
    import uvicorn

    from lora_manager_core.app import create_app
    from lora_manager_core.web.access import StandAloneAccess
    from lora_manager_core.web.keys import ApiKeys

    application = build_application(settings)
    application.database.upgrade()
    keys = application.services.get(ApiKeys)
    if settings.host not in _LOOPBACK and not keys.exist():
        print(
            f"Refusing to listen on {settings.host} without an API key: everybody on the network "
            "could use it. Make one with `lora-manager key add NAME`, or set LORA_MANAGER_API_KEY.",
            file=sys.stderr,
        )
        return 2
    app = create_app(application, StandAloneAccess(keys, settings.host))
    print(f"LoRA Manager: http://{settings.host}:{settings.port}/  (API: /v1/docs)", flush=True)
    uvicorn.run(app, host=settings.host, port=settings.port, **SERVER_OPTIONS)
    return 0


def worker(settings: Settings, arguments: argparse.Namespace) -> int:
    """Take jobs from Redis until stopped."""
    from lora_manager_core.worker import supervise

    if not settings.redis_url:
        print(
            "A worker takes its jobs from Redis: set LORA_MANAGER_REDIS_URL to the one that the "
            "server uses, such as redis://127.0.0.1:6379/0.",
            file=sys.stderr,
        )
        return 2
    supervise(settings, arguments.lanes, arguments.processes)
    return 0


def scan(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Scan the library and print what was found."""
    from lora_manager_core.library.service import LibraryService
    from lora_manager_core.queueing.base import SUCCEEDED
    from lora_manager_core.queueing.service import Jobs

    with started(settings) as application:
        job = application.services.get(LibraryService).start_scan()
        job = application.services.get(Jobs).wait(job.id)
    if job.status != SUCCEEDED or job.result is None:
        print((job.error or {}).get("detail", f"The scan ended as {job.status}."), file=sys.stderr)
        return 1
    report = job.result
    print(
        f"{report['found']} files in {report['duration_s']} s: {report['added']} new, "
        f"{report['changed']} changed, {report['moved']} moved, {report['missing']} missing, "
        f"{report['unreadable']} unreadable."
    )
    for problem in report["problems"]:
        print(f"{problem['path']}: {problem['reason']}", file=sys.stderr)
    return 0


def key(settings: Settings, arguments: argparse.Namespace) -> int:
    """Add, list or revoke API keys."""
    from lora_manager_core.web.keys import ApiKeys

    application = build_application(settings)
    application.database.upgrade()
    keys = application.services.get(ApiKeys)
    if arguments.action == "add":
        print(keys.add(arguments.name or "unnamed"))
        print("Keep it: it cannot be shown again.", file=sys.stderr)
    elif arguments.action == "revoke":
        keys.revoke(arguments.name or "")
        print("Revoked.")
    else:
        for info in keys.list_keys():
            print(f"{info.id}  {info.created_at}  {info.label}")
    return 0


def doctor(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Say what is configured and what is wrong with it."""
    from lora_manager_core.generation.service import GenerationService
    from lora_manager_core.library.service import LibraryService

    application = build_application(settings)
    application.database.upgrade()
    overview = application.services.get(LibraryService).overview()
    healthy = bool(overview["roots"])
    print(f"Data folder: {settings.data_dir}")
    print(f"Adapters: {overview['total']} ({overview['unreadable']} unreadable)")
    if not overview["roots"]:
        print("No library folder is configured: set LORA_MANAGER_LIBRARY_ROOTS or use --library.")
    for root in overview["roots"]:
        print(f"Library {root['path']}: {root['problem'] or 'ok'}")
        healthy = healthy and root["ok"]
    for backend in application.services.get(GenerationService).backends():
        print(f"Backend {backend.name}: {backend.reason or f'ok ({backend.model})'}")
    return 0 if healthy else 1


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings named on the command line."""
    given = {
        "data_dir": arguments.data_dir,
        "library_roots": tuple(arguments.library) if arguments.library else None,
        "sdnext_url": arguments.sdnext_url,
        "diffusers_model": arguments.model,
        "host": getattr(arguments, "host", None),
        "port": getattr(arguments, "port", None),
    }
    return {name: value for name, value in given.items() if value is not None}


def _lanes(text: str) -> tuple[str, ...]:
    named = tuple(part.strip() for part in text.split(",") if part.strip())
    if not named or set(named) - set(LANES):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(LANES)}, separated by commas")
    return named


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("a number from 1 to 64")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data-dir", type=Path, help="folder for database and pictures")
    common.add_argument(
        "--library", type=Path, action="append", help="folder with LoRA files (repeatable)"
    )
    common.add_argument("--sdnext-url", help="address of an SD.Next server")
    common.add_argument("--model", type=Path, help="diffusers pipeline folder")
    parser = argparse.ArgumentParser(prog="lora-manager", description="A LoRA library for SD.Next.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    served = commands.add_parser("serve", parents=[common], help="serve the page and the API")
    served.add_argument("--host", help="address to listen on (127.0.0.1)")
    served.add_argument("--port", type=int, help="port to listen on (7862)")
    served.set_defaults(run=serve)
    worked = commands.add_parser(
        "worker", parents=[common], help="make the pictures of a server's queue on Redis"
    )
    worked.add_argument(
        "--lanes",
        type=_lanes,
        default=LANES,
        metavar="LANE,...",
        help=f"the jobs to take: {', '.join(LANES)} (all)",
    )
    worked.add_argument("--processes", type=_count, default=1, help="worker processes (1)")
    worked.set_defaults(run=worker)
    commands.add_parser("scan", parents=[common], help="scan the library").set_defaults(run=scan)
    keyed = commands.add_parser("key", parents=[common], help="API keys")
    keyed.add_argument("action", choices=("add", "list", "revoke"))
    keyed.add_argument("name", nargs="?", help="a label to add, an id to revoke")
    keyed.set_defaults(run=key)
    commands.add_parser("doctor", parents=[common], help="check the set-up").set_defaults(
        run=doctor
    )
    add_commands(commands, common)
    return parser


if __name__ == "__main__":
    sys.exit(main())
