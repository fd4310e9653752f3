"""The whole path once, without a server: scan, compose, generate with and without LoRAs, compare.

`./quickstart --once` runs it. It ends with 0 only if the picture's infotext holds the tokens and
the picture differs from the one without them.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

from lora_manager_core.adapters.lists import AdapterLists
from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.bootstrap import Application, build_application
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.generation.results import ResultService
from lora_manager_core.generation.schemas import (
    ComposeAndGenerateRequest,
    ComposedGenerationParams,
    GenerationOptions,
    GenerationParams,
    OutputOptions,
)
from lora_manager_core.generation.service import GenerationService
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.base import SUCCEEDED
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.settings import Settings

_PROMPT = "a lighthouse at dusk"
_OPTIONS = GenerationOptions(steps=8, width=128, height=128, seed=42, sampler_name="Euler a")
#: How many adapters of the library are composed.
_COMPOSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the path; gives 0 if every step did what it should."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    arguments = parser.parse_args(argv)
    # A database of its own: what a person did in the page is neither used nor changed.
    with tempfile.TemporaryDirectory() as folder:
        application = build_application(
            Settings(
                data_dir=Path(folder),
                output_dir=arguments.data_dir / "outputs",
                library_roots=(arguments.library,),
                diffusers_model=arguments.model,
            )
        )
        application.start()
        try:
            return _run(application)
        except LoraManagerError as error:
            _say(error.detail)
            return 1
        finally:
            application.stop()


def _run(application: Application) -> int:
    services = application.services
    jobs = services.get(Jobs)
    scan = jobs.wait(services.get(LibraryService).start_scan().id)
    if scan.status != SUCCEEDED or scan.result is None:
        _say(f"The scan ended as {scan.status}.")
        return 1
    adapters = services.get(AdapterService)
    listed = services.get(AdapterLists).browse(AdapterQuery(per_page=1000))
    _say(f"Scanned: {scan.result['found']} files, {listed['total']} adapters listed.")
    usable = [record for record in listed["items"] if record["supports_generation"]]
    for ordinal, record in enumerate(usable[:_COMPOSED]):
        adapters.activate(record["id"], True, ordinal)

    generation = services.get(GenerationService)
    composed = generation.compose_and_generate(
        ComposeAndGenerateRequest(
            generation_params=ComposedGenerationParams(prompt=_PROMPT, **_OPTIONS.model_dump())
        )
    )
    plain = generation.generate(
        GenerationParams(prompt=_PROMPT, **_OPTIONS.model_dump()), OutputOptions(save_images=False)
    )
    for warning in [*composed.warnings, *(w.message for w in composed.compose_warnings or ())]:
        _say(f"Warning: {warning}")
    if not composed.images or not plain.images:
        _say("No picture came back.")
        return 1
    with_loras, without = _open(composed.images[0]), _open(plain.images[0])
    infotext = str(with_loras.info.get("parameters", ""))
    difference = _mean_difference(with_loras, without)
    _say(f"Composed: {composed.prompt}")
    _say(f"Infotext: {infotext}")
    _say(f"Mean difference to the picture without LoRAs: {difference:.1f} of 255.")
    _say(f"Picture: {services.get(ResultService).image(composed.job_id, 0)}")
    tokens = [word for word in (composed.prompt or "").split() if word.startswith("<lora:")]
    if len(tokens) < 1 or not all(token in infotext for token in tokens) or difference <= 1.0:
        _say("FAILED: the LoRAs were not applied.")
        return 1
    return 0


def _open(image_base64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image_base64)))


def _mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference over all pixels and channels, 0..255."""
    bands = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(bands) / len(bands)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
