"""The tab on the very Gradio that SD.Next runs."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from starlette.testclient import TestClient

from lora_manager_ext.tab import TAB_ID, build_tab

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gradio 3 on libraries newer than itself
    gradio: Any = pytest.importorskip("gradio", reason="gradio 3.43.2 is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")


def test_what_the_host_wants() -> None:
    ((blocks, title, element_id),) = build_tab("LoRA Manager", "/v1")
    assert isinstance(blocks, gradio.Blocks)
    assert (title, element_id) == ("LoRA Manager", TAB_ID)


def test_root_is_in_the_page() -> None:
    ((blocks, _, _),) = build_tab("LoRA Manager", '/s"d/v1')
    with gradio.Blocks() as page, gradio.Tabs(), gradio.TabItem("LoRA Manager"):
        blocks.render()
    with TestClient(gradio.routes.App.create_app(page)) as client:
        config = client.get("/config").json()
    (html,) = [c["props"]["value"] for c in config["components"] if c["type"] == "html"]
    assert 'id="lora_manager"' in html
    assert 'data-api="/s&quot;d/v1"' in html


def test_problem_takes_its_place() -> None:
    ((blocks, _, _),) = build_tab("LoRA Manager", "/v1", "sqlalchemy <is> missing")
    (component,) = [c for c in blocks.blocks.values() if isinstance(c, gradio.HTML)]
    assert "sqlalchemy &lt;is&gt; missing" in component.value
    assert 'id="lora_manager"' not in component.value
