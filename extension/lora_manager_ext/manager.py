"""The manager inside the host: the core's application, with what the host brings along."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from lora_manager_core.api_v1 import build_api
from lora_manager_core.backends.base import PromptName
from lora_manager_core.bootstrap import Parts, build_application
from lora_manager_core.compose.injection import InjectionService
from lora_manager_core.compose.schemas import ComposeRequest
from lora_manager_core.compose.service import ComposeService
from lora_manager_core.compose.translate import PromptTranslator
from lora_manager_core.feed.base import Feed
from lora_manager_core.generation.runs import Run
from lora_manager_core.generation.usage import UsageRecorder
from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.library.service import LibraryService
from lora_manager_core.settings import Settings
from lora_manager_core.web.keys import ApiKeys
from lora_manager_core.web.mount import mount_politely
from lora_manager_ext.access import HostAccess
from lora_manager_ext.device import HostDevice
from lora_manager_ext.generation import InProcessBackend
from lora_manager_ext.host import Host, host_log
from lora_manager_ext.known_hashes import HostHashes
from lora_manager_ext.lora_list import HostLoraList
from lora_manager_ext.lora_names import LoraNames
from lora_manager_ext.turns import HostTurns


class Manager:
    """Everything that lives from the start of the app to its end; also the hook's catalogue."""

    def __init__(self, host: Host, data_dir: Path | None, extra_roots: str) -> None:
        self._host = host
        self._list = HostLoraList(host, host_log())
        self._names = LoraNames(host.lora_aliases, lambda: host.lora_dir, self._list.refresh)
        self._backend = InProcessBackend(host, self._names, host_log())
        settings = _settings(host, data_dir)
        parts = [part.strip() for part in extra_roots.split(os.pathsep)]
        further = [Path(part).expanduser() for part in parts if part]
        roots = [*further, *settings.library_roots]
        self._application = build_application(
            settings,
            Parts(
                library_roots=lambda: list(dict.fromkeys([host.lora_dir, *roots])),
                backends=lambda _database: [self._backend],
                device_monitor=HostDevice(host, host_log()),
                can_inject=True,
                in_process_backend=True,
                turns=HostTurns(host, host_log()),
                known_hashes=HostHashes(
                    host.cached_hashes,
                    self._names.is_alone,
                    lambda: bool(host.option("civitai_discard_hash_mismatch", True)),
                ),
            ),
        )
        services = self._application.services
        self._compose = services.get(ComposeService)
        self._injection = services.get(InjectionService)
        self._translator = services.get(PromptTranslator)
        self._usage = services.get(UsageRecorder)
        self._app: Any = None
        access = HostAccess(
            services.get(ApiKeys),
            host.needs_login,
            host.credentials,
            lambda: getattr(self._app, "tokens", None) or {},
        )
        self._api = build_api(services, access)
        self.data_dir = settings.data_dir
        self.exact_strengths = settings.exact_strengths

    def prepare(self) -> None:
        """Bring the database up to date."""
        self._application.database.upgrade()

    def start(self) -> None:
        """Begin to work, with a scan, in a thread of its own: the host is not to wait."""
        threading.Thread(target=self._start, name="lora-manager-start", daemon=True).start()

    def _start(self) -> None:
        services = self._application.services
        self._application.start(True)
        services.get(Feed).subscribe(self._list.hear)  # type: ignore[type-abstract]

        def _scan() -> None:
            services.get(LibraryService).start_scan()

        self._list.start(services.get(LibraryScan).refresh_names, _scan)

    def mount(self, app: Any) -> None:
        """Put the API into the host's app, under its sub-path as well; safe to call again."""
        self._app = app
        mount_politely(app, self._api, self._host.subpath)

    def stop(self) -> None:
        """Stop working; what is unfinished goes on at the next start."""
        self._list.stop()
        self._application.stop()

    # -- what the hooks ask and tell ---------------------------------------------------------------

    def injection_is_on(self) -> bool:
        """The switch that holds for good."""
        return self._injection.state().enabled

    def active_tokens(self) -> Sequence[str]:
        """The composed tokens of the active set."""
        return self._compose.compose(ComposeRequest()).tokens

    def resolve(self, names: set[str]) -> Mapping[str, PromptName]:
        """What each record's name resolves to in this host."""
        with self._list.within_job():
            return self._translator.resolve(names, self._backend)

    def file_of(self, name: str) -> str:
        """The file a name stands for."""
        return self._names.file_of(name)

    def style_prompts(self, names: Sequence[str]) -> Sequence[str]:
        """The prompts of the host's styles of these names."""
        return self._host.style_prompts(names)

    def record_run(self, run: Run) -> None:
        """Have a job of the host counted; returns at once."""
        self._usage.record(run)


def default_data_dir(user_data: Path, host_data: Path) -> Path:
    """Where our files go: a folder of this host's own, in the user's data.

    Not below the host's data folder, because without `--auth` everything there can be downloaded
    (`/sdapi/v1/file` gives even what `/file=` refuses).
    """
    name = hashlib.sha256(str(host_data.resolve()).encode()).hexdigest()[:12]
    return user_data / f"sdnext-{name}"


def _settings(host: Host, data_dir: Path | None) -> Settings:
    """Environment and `config.toml` as everywhere; the host only fills what they leave open."""
    given: dict[str, Any] = {}
    if data_dir is not None:
        given["data_dir"] = data_dir
    elif "LORA_MANAGER_DATA_DIR" not in os.environ:
        user_data = Path(platformdirs.user_data_dir("lora-manager", appauthor=False))
        given["data_dir"] = default_data_dir(user_data, host.data_path)
    if "LORA_MANAGER_IMPORT_PATH" not in os.environ:
        given["import_path"] = host.lora_dir
    return Settings(**given)
