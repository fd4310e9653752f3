"""The infotext: SD.Next's order and quoting, and what comes back out of the PNG."""

import re
from io import BytesIO

from PIL import Image

from lora_manager_core.backends.base import GenerationRequest
from lora_manager_core.backends.infotext import (
    infotext,
    png_bytes,
    read_infotext,
)

REQUEST = GenerationRequest(
    prompt="a cat <lora:ink:0.8>",
    negative_prompt="dog, bird",
    steps=12,
    sampler_name="Euler a",
    cfg_scale=6.5,
)
# SD.Next's own expression for reading the last line (modules/infotext.py, re_param)
HOST_PATTERN = re.compile(r'\s*([\w ]+):\s*("(?:\\"[^,]|\\"|\\|[^\"])+"|[^,]*)(?:,|$)')


def text(request: GenerationRequest = REQUEST, **changes) -> str:
    options = {"seed": 7, "width": 512, "height": 640, "model": "tiny", "loras": ["ink"]}
    return infotext(request, **{**options, **changes})


class TestText:
    def test_is_what_the_host_writes(self):
        assert text().splitlines() == [
            "a cat <lora:ink:0.8>",
            "Negative prompt: dog, bird",
            "Steps: 12, Size: 512x640, Sampler: Euler a, Seed: 7, CFG scale: 6.5, "
            "App: LoRA Manager, Operations: txt2img, Model: tiny, LoRA networks: ink",
        ]

    def test_values_with_separators_are_quoted_and_read_by_the_host(self):
        line = text(loras=["ink", "gold"]).splitlines()[-1]
        assert line.endswith('LoRA networks: "ink, gold"')
        assert dict(HOST_PATTERN.findall(line))["LoRA networks"] == '"ink, gold"'

    def test_separators_in_the_model_name_are_dropped(self):
        assert "Model: ab," in text(model="a,:b")

    def test_a_picture_of_several_tells_its_place(self):
        several = GenerationRequest(prompt="x", batch_size=2, n_iter=3)
        assert "Batch: 3x2" in text(several, index=3)
        assert "Index: 2x4" in text(several, index=3)

    def test_without_a_negative_prompt_its_line_stays(self):
        assert text(GenerationRequest(prompt="x")).splitlines()[1] == "Negative prompt: "

    def test_further_parameters_come_last(self):
        assert text(extra={"Stack": "mine"}).endswith("Stack: mine")


class TestPng:
    def test_the_text_comes_back(self):
        png = png_bytes(Image.new("RGB", (8, 8)), text())
        assert read_infotext(png) == text()

    def test_beyond_latin_1(self):
        png = png_bytes(Image.new("RGB", (8, 8)), "水彩 <lora:夜空:1>")
        assert read_infotext(png) == "水彩 <lora:夜空:1>"

    def test_the_pixels_stay(self):
        image = Image.effect_noise((16, 16), 50).convert("RGB")
        changed = png_bytes(image, "new")
        assert read_infotext(changed) == "new"
        with Image.open(BytesIO(changed)) as again:
            assert again.tobytes() == image.tobytes()

    def test_a_picture_without_text(self):
        buffer = BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, format="PNG")
        assert read_infotext(buffer.getvalue()) is None
