"""A page as SD.Next makes it: our tab on the real Gradio 3.43.2, our modules and style injected.

Run as `python -m tests.fakes.gradio_host PORT DATA_DIR LIBRARY MODEL`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lora_manager_core.api_v1 import build_api
from lora_manager_core.bootstrap import build_application
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys
from lora_manager_core.web.mount import mount_politely
from lora_manager_ext.tab import build_tab

_PROJECT = Path(__file__).parents[2]
_HEAD = (
    b'<script type="module" src="/files/javascript/lora_manager.mjs"></script>'
    b'<link rel="stylesheet" href="/files/style.css"></head>'
)


def make_app(settings: Settings) -> FastAPI:
    """The app; the manager works from the start."""
    application = build_application(settings)
    application.start(scan=True)
    tabs = build_tab("LoRA Manager", "/v1")
    with gr.Blocks(analytics_enabled=False) as demo, gr.Tabs():
        with gr.Tab("Text"):
            gr.Textbox(label="Prompt", elem_id="txt2img_prompt")
        for blocks, title, tab_id in tabs:
            with gr.Tab(title, id=tab_id, elem_id=f"tab_{tab_id}"):
                blocks.render()
    app = FastAPI()
    app.mount("/files", StaticFiles(directory=_PROJECT))
    gr.mount_gradio_app(app, demo, path="/")
    app.add_middleware(_WithHead)
    services = application.services
    mount_politely(app, build_api(services, StandAloneAccess(services.get(ApiKeys))))
    return app


class _WithHead:
    """Puts our elements into the head of the page, as the host does with its own and ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def _collect(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                body = body.replace(b"</head>", _HEAD, 1)
                MutableHeaders(scope=start)["content-length"] = str(len(body))
                await send(start)
                await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, _collect)


if __name__ == "__main__":
    port, data_dir, library, model = sys.argv[1:]
    chosen = Settings(
        data_dir=Path(data_dir), library_roots=(Path(library),), diffusers_model=Path(model)
    )
    uvicorn.run(make_app(chosen), host="127.0.0.1", port=int(port), log_level="warning")
