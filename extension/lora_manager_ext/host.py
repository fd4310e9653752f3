"""SD.Next as one object: paths, options, LoRA registry, log-ins, jobs. Nothing else imports it.

Names and behaviour after the host's snapshot of 2026-07-23; each module is imported where it is
needed, because the host's own imports are not finished while extensions load.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

#: The host's own logger, so that our lines look like its own in its log and console.
LOGGER = "sd"
#: Title of the always-on script; `alwayson_scripts` of an API call names it.
TITLE = "LoRA Manager"
_SECTION = ("lora_manager", TITLE)


class Host:
    """The SD.Next this process is. Cheap to make; asks the host each time."""

    @property
    def lora_dir(self) -> Path:
        """The host's LoRA folder, absolute."""
        from modules import shared

        # not `Path.absolute`, which keeps the `..` that the host writes
        return Path(os.path.abspath(shared.cmd_opts.lora_dir))  # noqa: PTH100

    @property
    def data_path(self) -> Path:
        """The host's data folder, absolute; its own folder where none is set."""
        from modules import paths

        return Path(os.path.abspath(paths.data_path or paths.script_path))  # noqa: PTH100

    @property
    def subpath(self) -> str:
        """The prefix the page is served under as well, such as `/sd`; empty mostly."""
        from modules import shared

        text = str(shared.cmd_opts.subpath or shared.opts.subpath or "").strip("/")
        return f"/{text}" if text else ""

    # -- options ---------------------------------------------------------------------------------

    def option(self, name: str, default: Any = None) -> Any:
        """The value of one option of the host."""
        from modules import shared

        return getattr(shared.opts, name, default)

    def set_option(self, name: str, value: Any) -> None:
        """Set an option for this process; the host saves it with its own."""
        from modules import shared

        shared.opts.data[name] = value

    def add_settings(self, settings: Sequence[tuple[str, Any, str, str]]) -> None:
        """Give the settings page a section of ours: (name, default, label, further words) each."""
        import gradio as gr
        from modules import shared

        for name, default, label, info in settings:
            component = gr.Checkbox if isinstance(default, bool) else gr.Textbox
            option = shared.OptionInfo(default, label, component, {}, section=_SECTION)
            shared.opts.add_option(name, option.info(info) if info else option)

    # -- LoRA ------------------------------------------------------------------------------------

    def lora_aliases(self) -> dict[str, Any]:
        """The host's live dictionary: name in a prompt → `NetworkOnDisk`."""
        from modules.lora import lora_load

        return cast("dict[str, Any]", lora_load.available_network_aliases)

    def refresh_loras(self) -> None:
        """Have the host list its LoRA files anew."""
        from modules.lora import lora_load

        lora_load.list_available_networks()

    def cached_hashes(self, store: str) -> Mapping[str, Mapping[str, Any]]:
        """A store of the host's hash cache, see `known_hashes`; a copy, as jobs add to it."""
        from modules import hashes

        return dict(hashes.cache(store))

    def style_prompts(self, names: Sequence[str]) -> list[str]:
        """The prompts of styles, which the host adds to a job's prompt after our turn."""
        from modules import shared

        return [str(text or "") for text in shared.prompt_styles.get_style_prompts(list(names))]

    # -- who is logged in ------------------------------------------------------------------------

    def credentials(self) -> Mapping[str, str]:
        """User → password as `--auth` gives them; empty: everyone may call."""
        from modules import shared

        return cast("Mapping[str, str]", getattr(shared.api, "credentials", None) or {})

    def needs_login(self) -> bool:
        """Whether the host was started with log-ins, even before it has read them."""
        from modules import shared

        return bool(shared.cmd_opts.auth or shared.cmd_opts.auth_file or self.credentials())

    # -- the model and its jobs ------------------------------------------------------------------

    @property
    def queue_lock(self) -> threading.Lock:
        """Held by every job of the host; not re-entrant."""
        from modules import call_queue

        return cast("threading.Lock", call_queue.queue_lock)

    def model(self) -> tuple[str, str, str] | None:
        """Type, pipeline class and name of the loaded model; None if none is."""
        from modules import shared

        if not shared.sd_loaded:
            return None
        info = getattr(shared.sd_model, "sd_checkpoint_info", None)
        name = getattr(info, "name", None) or shared.opts.sd_model_checkpoint
        return str(shared.sd_model_type), type(shared.sd_model).__name__, str(name)

    def is_loading(self) -> bool:
        """Whether a model is on its way into memory, or the host has not finished starting."""
        from modules import modeldata

        return bool(modeldata.model_data.locked or modeldata.model_data.lock.locked())

    def has_checkpoint(self) -> bool:
        """Whether a checkpoint is chosen, which the host loads when a job asks for it."""
        return str(self.option("sd_model_checkpoint") or "None") != "None"

    def sampler(self, name: str) -> str | None:
        """The host's spelling of a sampler's name; None if it has no such sampler."""
        from modules import sd_samplers

        if name in sd_samplers.all_samplers_map and not sd_samplers.is_separator(name):
            return name
        found = sd_samplers.find_sampler(name)
        return str(found.name) if found else None

    def status(self) -> dict[str, Any]:
        """The running stage in the words of `/sdapi/v1/status`: `task, id, step, steps`."""
        from modules import shared

        state = shared.state
        steps = max(state.sampling_steps, 0)
        return {"task": state.job, "id": state.id, "step": state.sampling_step, "steps": steps}

    def interrupt(self) -> None:
        """Stop the running job at its next step; each new stage forgets it, so repeat it."""
        from modules import shared

        shared.state.interrupted = True

    def is_interrupted(self) -> bool:
        """Whether the running stage was told to stop, by us or by somebody at the page."""
        from modules import shared

        return bool(shared.state.interrupted)

    def preview(self) -> Any:
        """The unfinished picture (PIL) of the running stage, or None.

        It is decoded as the host is set to, which may take a while, and is black where the host
        lacks the weights.
        """
        from modules import shared
        from PIL import Image

        shared.state.set_current_image()
        image = shared.state.current_image
        return image if isinstance(image, Image.Image) else None

    def make_pictures(self, fields: Mapping[str, Any], mark: Callable[[Any], None]) -> Any:
        """What `/sdapi/v1/txt2img` does, to the pixel; the caller holds `queue_lock`.

        Gives the host's `Processed`, or None where it has no model. `mark` gets the job before
        it starts.
        """
        from modules import processing, scripts_manager, shared
        from modules.api import script as api_script

        runner = scripts_manager.scripts_txt2img
        jobid = shared.state.begin(TITLE, api=True)
        try:
            p = processing.StableDiffusionProcessingTxt2Img(
                sd_model=shared.sd_model,
                do_not_save_samples=True,
                do_not_save_grid=True,
                **fields,
            )
            try:
                p.scripts = runner
                p.script_args = tuple(api_script.init_default_script_args(runner))
                mark(p)
                return processing.process_images(p)
            finally:
                p.close()
        finally:
            shared.state.end(jobid, api=False)

    def device_kind(self) -> str | None:
        """What the host makes pictures on: `cpu`, `cuda`, `xpu`, `mps`…; None before it chose."""
        from modules import devices

        return str(devices.device.type) if devices.device is not None else None

    def torch_device(self) -> str | None:
        """That device as torch names it, such as `cuda:0`; None before the host chose."""
        from modules import devices

        return str(devices.device) if devices.device is not None else None

    def device_memory(self) -> tuple[str, int, int] | None:
        """Name, used and total bytes by the host's memory monitor; None where it tells nothing.

        It counts in hundredths of a GiB.
        """
        from modules import devices, memstats

        stats = memstats.gpu_stats()
        if not stats.get("total"):
            return None
        name = str(devices.torch.cuda.get_device_name(devices.device))
        return name, round(stats["used"] * 2**30), round(stats["total"] * 2**30)

    def last_result(self) -> Any:
        """The `Processed` of the last job that went through; a new one for each, None at first."""
        from modules import processing

        return processing.processed

    # -- hooks -----------------------------------------------------------------------------------

    def script_base(self) -> tuple[type[Any], Any]:
        """The class an always-on script is made of, and its word for "always visible"."""
        from modules import scripts_manager

        return scripts_manager.Script, scripts_manager.AlwaysVisible

    def allow_in_control(self) -> None:
        """Have the Control tab run our always-on script; before scripts are set up."""
        import installer

        if TITLE not in installer.control_extensions:
            installer.control_extensions.append(TITLE)

    def register(
        self,
        *,
        app_started: Callable[[Any, Any], None],
        tabs: Callable[[], list[tuple[Any, str, str]]],
        settings: Callable[[], None],
        before_process: Callable[[Any], None],
        after_process: Callable[[Any], None],
        unloaded: Callable[[], None],
    ) -> None:
        """Register the callbacks of this extension; the host forgets them at each script reload."""
        from modules import script_callbacks

        script_callbacks.on_app_started(app_started)
        self.register_tabs(tabs)
        script_callbacks.on_ui_settings(settings)
        script_callbacks.on_before_process(before_process)
        script_callbacks.on_after_process(after_process)
        script_callbacks.on_script_unloaded(unloaded)

    def register_tabs(self, tabs: Callable[[], list[tuple[Any, str, str]]]) -> None:
        """Register nothing but the tab."""
        from modules import script_callbacks

        script_callbacks.on_ui_tabs(tabs)


def host_log() -> logging.Logger:
    """Where a line reaches the person who runs the host."""
    return logging.getLogger(LOGGER)
