"""The Gradio tab: nothing but the root element that the page's own modules fill.

Gradio alone cannot show ten thousand cards; `javascript/lora_manager.mjs` finds the root by its id.
"""

from __future__ import annotations

import html
from typing import Any

TAB_ID = "lora_manager_tab"
_STARTING = "LoRA Manager is loading …"


def build_tab(title: str, api: str, problem: str | None = None) -> list[tuple[Any, str, str]]:
    """What `on_ui_tabs` wants. `api` is where the API lives; with a `problem` only that is shown.

    The words in the root stand there until the page's modules replace them.
    """
    import gradio as gr

    if problem is None:
        inner = f'<div id="lora_manager" data-api="{html.escape(api)}"><p>{_STARTING}</p></div>'
    else:
        inner = f'<p id="lora_manager_problem" role="alert">{html.escape(problem)}</p>'
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(inner, elem_id="lora_manager_holder")
    return [(blocks, title, TAB_ID)]
