"""The optional libraries of the embedded backend: are they there, and keeping them quiet.

Everything that imports torch, diffusers, transformers, peft or safetensors does it inside
`embedded_extra()`, so that a missing library is one typed error that says what to install.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lora_manager_core.errors import ExtraNotInstalled

INSTALL_ADVICE = 'Install the embedded backend: pip install "sd-lora-manager[embedded]"'
_LIBRARIES = ("torch", "diffusers", "transformers", "peft", "safetensors")
# They log advice about optional parts and about what we do on purpose (no safety checker, LoRAs for
# only one component); errors still come through. Parents are reset by transformers when imported.
_CHATTY = (
    "transformers.utils.import_utils",
    "transformers.tokenization_utils_base",
    "diffusers.configuration_utils",
    "diffusers.loaders.lora_base",
    "diffusers.loaders.peft",
    "diffusers.pipelines.pipeline_utils",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
)


def missing_libraries() -> tuple[str, ...]:
    """The libraries of the `embedded` extra that are not installed; imports none of them."""
    return tuple(name for name in _LIBRARIES if importlib.util.find_spec(name) is None)


@contextmanager
def embedded_extra() -> Iterator[None]:
    """Import the libraries in here.

    Raises:
        ExtraNotInstalled: one of them is missing; the message names the extra.
    """
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    except ImportError as error:
        name = error.name or str(error)
        raise ExtraNotInstalled(f"{name} cannot be imported. {INSTALL_ADVICE}") from error


def hide_progress_bars() -> None:
    """Turn off the bars that diffusers and transformers draw on stderr while loading and saving."""
    with embedded_extra():
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
