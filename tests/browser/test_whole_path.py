"""What a person does, in both homes of the page: find, activate, weigh, order, generate."""

from __future__ import annotations

import re
import sys

import pytest

from tests.browser.conftest import serve

pytestmark = [pytest.mark.browser, pytest.mark.embedded, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stand_alone(samples, tmp_path_factory):
    data = tmp_path_factory.mktemp("stand-alone")
    command = ("-m", "lora_manager_core.cli", "serve", "--port", "PORT", "--data-dir", str(data))
    with serve(
        *command, "--library", str(samples.library), "--model", str(samples.model)
    ) as address:
        yield address


@pytest.fixture(scope="module")
def gradio_page(samples, tmp_path_factory):
    pytest.importorskip("gradio", reason="Gradio 3.43.2 is not installed (./check installs it)")
    data = tmp_path_factory.mktemp("gradio")
    with serve(
        "-m",
        "tests.fakes.gradio_host",
        "PORT",
        str(data),
        str(samples.library),
        str(samples.model),
    ) as address:
        yield address


def test_in_the_stand_alone_page(stand_alone, open_tab):
    tab = open_tab(stand_alone)
    _walk(tab)


def test_in_a_gradio_tab(gradio_page, open_tab):
    if sys.version_info >= (3, 14):
        pytest.skip("Gradio 3.43.2 does not run on this Python")
    tab = open_tab(gradio_page)
    tab.page.get_by_role("button", name="LoRA Manager").click()
    _walk(tab)


def _walk(tab):
    from playwright.sync_api import expect

    # Find: six sample files, then what a search leaves.
    expect(tab.by("lm-card")).to_have_count(6, timeout=60_000)
    tab.by("lm-search").fill("dragon")
    expect(tab.by("lm-card")).to_have_count(1)
    assert tab.card("dragon_tamer").is_visible()
    tab.by("lm-search").fill("")
    expect(tab.by("lm-card")).to_have_count(6)
    assert tab.page.locator("#lora_manager [data-testid=lm-card] img").count() >= 1

    # Activate two, weigh one, change their order.
    for name in ("amber_watercolor", "night_city"):
        tab.card(name).locator("[data-testid=lm-activate]").or_(tab.card(name)).first.click()
        expect(tab.by("lm-stack-item").filter(has_text=re.compile(name))).to_be_visible()
    expect(tab.by("lm-composed")).to_contain_text("<lora:amber_watercolor:1.000>")
    weight = tab.by("lm-weight").first
    weight.fill("0.6")
    weight.press("Enter")
    expect(tab.by("lm-composed")).to_contain_text("<lora:amber_watercolor:0.600>")
    tab.by("lm-stack-item").nth(1).locator("[data-testid=lm-move-up]").click()
    expect(tab.by("lm-composed")).to_contain_text(
        re.compile(r"<lora:night_city:1\.000>\s*<lora:amber_watercolor:0\.600>")
    )

    # Generate, with live progress, and see the picture with its infotext.
    tab.by("lm-prompt").fill("a lighthouse at dusk")
    for field, value in (("steps", "6"), ("width", "128"), ("height", "128"), ("seed", "7")):
        tab.by(f"lm-{field}").fill(value)
    tab.by("lm-generate").click()
    expect(tab.by("lm-progress").first).to_be_visible()
    image = tab.by("lm-image").first
    expect(image).to_be_visible(timeout=120_000)
    assert image.evaluate("i => i.complete && i.naturalWidth") == 128
    first = tab.page.evaluate(
        "async u => (await (await fetch(u)).blob()).size", image.get_attribute("src")
    )
    assert first > 1000
    expect(tab.by("lm-infotext").first).to_contain_text(
        re.compile(r"night_city:1\.000.*amber_watercolor:0\.600", re.DOTALL)
    )

    # Switched off, the picture is made without the set.
    tab.by("lm-inject").click()
    tab.by("lm-generate").click()
    expect(tab.by("lm-image").first).not_to_have_attribute(
        "src", image.get_attribute("src"), timeout=120_000
    )
    tab.by("lm-inject").click()

    # Leave everything as it was found.
    while tab.by("lm-remove").count():
        tab.by("lm-remove").first.click()
        tab.page.wait_for_timeout(200)
    expect(tab.by("lm-stack-item")).to_have_count(0)
