"""Our tab in both of SD.Next's pages, as a person opens it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.running import RunningHost

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = [pytest.mark.host, pytest.mark.browser, pytest.mark.timeout(600)]

#: The page of SD.Next has some 5,000 elements and takes long on two cores.
_PAGE_MS = 180_000
_CARD = "[data-testid=lm-card]"


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.fixture
def page(browser: playwright.Browser) -> Iterator[playwright.Page]:
    with browser.new_page(viewport={"width": 1500, "height": 950}) as opened:
        opened.set_default_timeout(_PAGE_MS)
        yield opened


def open_tab(page: playwright.Page, host: RunningHost, modern: bool) -> None:
    page.goto(host.url, wait_until="domcontentloaded")
    if modern:
        page.locator("#control_prompt textarea").wait_for(state="visible")
        page.locator('button.xtabs-tab[tabitemid*="tab_lora_manager_tab_tabitem"]').click()
    else:
        page.get_by_role("button", name="LoRA Manager", exact=True).first.click()
    page.locator(_CARD).first.wait_for(state="visible")


@pytest.mark.parametrize("kind", ["standard", "modern"])
def test_library_is_there_and_a_click_activates(
    request: pytest.FixtureRequest, page: playwright.Page, tmp_path: Path, kind: str
) -> None:
    host: RunningHost = request.getfixturevalue(kind)
    host.activate_only()
    open_tab(page, host, kind == "modern")
    page.screenshot(path=tmp_path / f"{kind}.png")
    assert page.locator(_CARD).count() == len(host.adapters())

    card = page.locator(f'{_CARD}[data-name="ink_portrait"]')
    card.locator("[data-testid=lm-activate]").click()
    page.locator(f'{_CARD}[data-name="ink_portrait"][data-active="true"]').wait_for()
    page.screenshot(path=tmp_path / f"{kind}-active.png")
    active = {record["name"] for record in host.adapters().values() if record["active"]}
    assert active == {"ink_portrait"}
    host.activate_only()


def test_picture_of_the_control_tab(
    modern: RunningHost, page: playwright.Page, tmp_path: Path
) -> None:
    """Home of the Modern page; its button makes a `StableDiffusionProcessingControl`."""
    modern.activate_only(ink_portrait=0.8)
    try:
        page.goto(modern.url, wait_until="domcontentloaded")
        box = page.locator("#control_prompt textarea")
        box.wait_for(state="visible")
        box.fill("a cat on a mat")
        page.locator("#control_generate:visible").first.click()
        loaded = "networks=['ink_portrait']"
        started = time.monotonic()
        while loaded not in modern.logged():
            page.wait_for_timeout(500)
            if time.monotonic() - started > 120:
                page.screenshot(path=tmp_path / "control.png")
                pytest.fail(f"no {loaded} in the log of the host; see {tmp_path}")
        modern.client.post("/sdapi/v1/interrupt")
    finally:
        modern.activate_only()


def test_switch_in_each_tab(standard: RunningHost, page: playwright.Page) -> None:
    """The checkbox of the always-on script: in Text, Image and Control, on."""
    page.goto(standard.url, wait_until="domcontentloaded")
    for tab in ("txt2img", "img2img", "control"):
        box = page.locator(f"#script_{tab}_lora_manager_inject input[type=checkbox]")
        box.wait_for(state="attached")
        assert box.is_checked(), tab
