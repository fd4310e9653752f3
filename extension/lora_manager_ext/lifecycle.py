"""From the host's callbacks to a running manager: register, build, mount, stop.

The host may load its scripts a second time within one process (reload of the page), and replaces
itself by an `execv` at a restart, without a word: everything here can be called twice, and nothing
depends on being told of the end.
"""

from __future__ import annotations

import atexit
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_manager_ext.host import TITLE, Host, host_log
from lora_manager_ext.needed import missing, missing_line
from lora_manager_ext.tab import build_tab

if TYPE_CHECKING:
    from lora_manager_ext.manager import Manager

#: Switched off at start unless told otherwise: fused LoRAs keep the strength of the job before.
FUSE_OPTION = "lora_fuse_native"
EXACT = "lora_manager_exact_strengths"
FOLDERS = "lora_manager_folders"
DATA_DIR = "lora_manager_data_dir"

_SETTINGS = (
    (
        EXACT,
        True,
        "Exact LoRA strengths",
        "switches “LoRA fuse native” off at start: while it is on, a picture may get the strength "
        "of the one before",
    ),
    (
        FOLDERS,
        "",
        "Further folders with LoRA files",
        "one after the other, separated as in PATH; used after a restart",
    ),
    (
        DATA_DIR,
        "",
        "Folder for the database, pictures and backups of LoRA Manager",
        "empty: a folder of its own in the user's data; used after a restart; never below the "
        "data folder of SD.Next, which anybody may download from when there is no --auth",
    ),
)


class Extension:
    """This extension in this process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._log = host_log()
        self._lock = threading.Lock()
        self._preparing: threading.Thread | None = None
        self._manager: Manager | None = None
        self._started = False
        self._problem: str | None = None

    def register(self) -> type[Any]:
        """Register everything with the host; gives the class of the always-on script."""
        from lora_manager_ext.hooks import PromptHook, make_script
        from lora_manager_ext.usage import UsageHook

        def _manager() -> Manager | None:
            return self._manager if self._started else None

        def _before_process(p: Any) -> None:
            hook.before_process(p)
            usage.before_process(p)

        self._problem = None
        hook = PromptHook(_manager, self._log)
        usage = UsageHook(self._host, _manager, self._log)
        self._host.allow_in_control()
        self._host.register(
            app_started=self.start,
            tabs=self.tabs,
            settings=lambda: self._host.add_settings(_SETTINGS),
            before_process=_before_process,
            after_process=usage.after_process,
            unloaded=self.stop,
        )
        # SD.Next builds its page for many seconds now: time enough to make everything ready
        self._preparing = threading.Thread(
            target=self._prepare, name="lora-manager-prepare", daemon=True
        )
        self._preparing.start()
        base, always_visible = self._host.script_base()
        return make_script(base, always_visible, TITLE, hook)

    def register_problem(self, problem: str) -> None:
        """With libraries missing: one line in the log, one in the tab, nothing else."""
        self._problem = problem
        self._log.error(problem)
        self._host.register_tabs(self.tabs)

    def tabs(self) -> list[tuple[Any, str, str]]:
        """Callback `on_ui_tabs`."""
        return build_tab(TITLE, f"{self._host.subpath}/v1", self._problem)

    def start(self, _demo: Any, app: Any) -> None:
        """Callback `on_app_started`: mount the manager into this app, begin to work."""
        began = time.perf_counter()
        if self._preparing is not None:
            self._preparing.join()
        self._prepare()
        manager = self._manager
        if manager is None:
            return
        if manager.exact_strengths:
            self._use_exact_strengths()
        manager.mount(app)
        if not self._started:
            manager.start()
            self._started = True
        self._log.info(
            "LoRA Manager: api=%s/v1 data=%s time=%.2f",
            self._host.subpath,
            manager.data_dir,
            time.perf_counter() - began,
        )

    def stop(self) -> None:
        """Callback `on_script_unloaded`, and the end of the process."""
        with self._lock:
            manager, self._manager, self._started = self._manager, None, False
        if manager is not None:
            manager.stop()

    def _prepare(self) -> None:
        """Build the manager, if there is none, and bring its database up to date."""
        with self._lock:
            if self._manager is not None or self._problem is not None:
                return
            try:
                from lora_manager_ext.manager import Manager

                chosen = str(self._host.option(DATA_DIR, "") or "").strip()
                data_dir = Path(chosen).expanduser() if chosen else None
                folders = str(self._host.option(FOLDERS, "") or "")
                manager = Manager(self._host, data_dir, folders)
                manager.prepare()
            except Exception as error:  # noqa: BLE001 - the host's border: it goes on without us
                reason = str(error).rstrip(".")
                self._problem = f"LoRA Manager could not start: {reason}. The log says more."
                self._log.exception("LoRA Manager could not start")
            else:
                self._manager = manager

    def _use_exact_strengths(self) -> None:
        if self._host.option(EXACT, True) and self._host.option(FUSE_OPTION, False):
            self._host.set_option(FUSE_OPTION, False)
            self._log.info(
                "LoRA Manager: switched %s off, for exact LoRA strengths (Settings, LoRA Manager)",
                FUSE_OPTION,
            )


_extension: Extension | None = None


def register() -> type[Any] | None:
    """Entry of `scripts/lora_manager.py`: the class of the always-on script, for the host to find.

    The same extension is registered again when the host reloads its scripts.
    """
    global _extension
    if _extension is None:
        _extension = Extension(Host())
        atexit.register(_extension.stop)
    libraries = missing()
    if libraries:
        _extension.register_problem(missing_line(libraries))
        return None
    return _extension.register()
