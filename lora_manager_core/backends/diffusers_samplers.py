"""SD.Next's sampler names as diffusers schedulers.

Classes and options are those the host itself uses (`modules/sd_samplers_diffusers.py`); options it
leaves at diffusers' defaults are left out. The beta schedule stays the checkpoint's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_manager_core.backends.embedded_extra import embedded_extra

_MULTISTEP = "DPMSolverMultistepScheduler"
_SIGMA_OPTIONS = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
}
_KARRAS = " karras"


def _multistep(algorithm: str, order: int) -> tuple[str, dict[str, Any]]:
    options = {"algorithm_type": algorithm, "solver_order": order, "solver_type": "midpoint"}
    return _MULTISTEP, {**_SIGMA_OPTIONS, **options, "timestep_spacing": "linspace"}


SAMPLERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "UniPC": ("UniPCMultistepScheduler", {**_SIGMA_OPTIONS, "solver_type": "bh2"}),
    "DDIM": ("DDIMScheduler", {"clip_sample": False, "timestep_spacing": "leading"}),
    "Euler": ("EulerDiscreteScheduler", {**_SIGMA_OPTIONS, "timestep_spacing": "linspace"}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "linspace"}),
    "DPM++": _multistep("dpmsolver++", 1),
    "DPM++ 2M": _multistep("dpmsolver++", 2),
    "DPM++ 3M": _multistep("dpmsolver++", 3),
    "DPM++ SDE": _multistep("sde-dpmsolver++", 1),
    "DPM++ 2M SDE": _multistep("sde-dpmsolver++", 2),
    "DPM++ 3M SDE": _multistep("sde-dpmsolver++", 3),
    "DPM++ 1S": (
        "DPMSolverSinglestepScheduler",
        {**_SIGMA_OPTIONS, "solver_order": 2, "final_sigmas_type": "sigma_min"},
    ),
    "DEIS": ("DEISMultistepScheduler", {**_SIGMA_OPTIONS, "solver_type": "logrho"}),
    "Heun": ("HeunDiscreteScheduler", {**_SIGMA_OPTIONS, "timestep_spacing": "linspace"}),
    "KDPM2": ("KDPM2DiscreteScheduler", {**_SIGMA_OPTIONS, "timestep_spacing": "linspace"}),
    "KDPM2 a": (
        "KDPM2AncestralDiscreteScheduler",
        {**_SIGMA_OPTIONS, "timestep_spacing": "linspace"},
    ),
    "PNDM": ("PNDMScheduler", {"skip_prk_steps": False, "timestep_spacing": "linspace"}),
    "DDPM": ("DDPMScheduler", {"clip_sample": False, "timestep_spacing": "linspace"}),
    "LMSD": ("LMSDiscreteScheduler", {**_SIGMA_OPTIONS, "timestep_spacing": "linspace"}),
    "LCM": ("LCMScheduler", {}),
    "TCD": ("TCDScheduler", {}),
}
_BY_FOLDED_NAME = {name.casefold(): name for name in SAMPLERS} | {"lms": "LMSD"}
_DEFAULT_NAMES = ("", "default")


def choose_scheduler(name: str, own: Any) -> tuple[Any, str | None]:
    """A fresh scheduler for the sampler `name`, made from `own`, the pipeline's; and a warning.

    `own` is never changed. Where the name is unknown here or does not go with the model, the
    scheduler is a copy of `own`. “… Karras” behind a name asks for that noise schedule.
    """
    same = type(own).from_config(own.config)
    folded = name.strip().casefold()
    if folded in _DEFAULT_NAMES:
        return same, None
    karras = folded.endswith(_KARRAS)
    known = _BY_FOLDED_NAME.get(folded.removesuffix(_KARRAS))
    own_name = type(own).__name__
    if known is None:
        return same, f"The sampler “{name}” is not known here: {own_name} was used."
    if "FlowMatch" in own_name:
        return same, f"This model needs its own sampler: {own_name} was used instead of “{name}”."
    class_name, options = SAMPLERS[known]
    if karras and "use_karras_sigmas" in options:
        options = {**options, "use_karras_sigmas": True}
    with embedded_extra():
        import diffusers
    try:
        return getattr(diffusers, class_name).from_config(own.config, **options), None
    except (ImportError, AttributeError, ValueError, NotImplementedError) as error:
        return same, f"“{name}” cannot be used ({error}): {own_name} was used."
