"""A real SD.Next with this project as its extension: started, asked, and stopped by its own id."""

from __future__ import annotations

import base64
import html
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageChops, ImageStat

PROJECT = Path(__file__).resolve().parents[2]
#: CPU, offline, and nothing installed or updated by the host itself.
_FLAGS = (
    *("--use-cpu", "all", "--experimental", "--skip-git", "--skip-requirements"),
    *("--skip-torch", "--quick"),
)
_READY_S = 240.0
#: The first picture of a kind may have to compile or load something.
_PICTURE_S = 120.0

CONFIG: dict[str, Any] = {
    "sd_model_checkpoint": "Diffusers/tiny-sd",
    "theme_type": "Standard",
    "gradio_theme": "black-teal",
    "server_rate_limit": 0,
    "samples_format": "png",
    "samples_save": False,
    "grid_save": False,
    "autolaunch": False,
    "show_progress_type": "Simple",
}
MODERN = {**CONFIG, "theme_type": "Modern", "gradio_theme": "Default"}


@dataclass(frozen=True)
class Picture:
    """What came out, and what the host says about it."""

    image: Image.Image
    infotext: str = ""

    def distance(self, other: Picture) -> float:
        """Mean difference of all channels, 0 to 255."""
        difference = ImageChops.difference(self.image, other.image)
        return sum(ImageStat.Stat(difference).mean) / 3

    @classmethod
    def from_base64(cls, text: str, infotext: str = "") -> Picture:
        data = base64.b64decode(text.rpartition(",")[2])
        with Image.open(BytesIO(data)) as image:
            return cls(image.convert("RGB"), infotext)


@dataclass
class RunningHost:
    """One SD.Next process on a data folder of its own."""

    checkout: Path
    python: Path
    folder: Path
    flags: Sequence[str] = ()
    auth: tuple[str, str] | None = None
    env: dict[str, str] = field(default_factory=dict)

    def start(self) -> RunningHost:
        """Start it and wait until it names its model."""
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "sdnext.log"
        self._output = (self.folder / "output.log").open("wb")
        self.process = subprocess.Popen(
            [
                *(str(self.python), "launch.py", *_FLAGS, "--port", str(self.port)),
                *("--data-dir", str(self.folder), "--log", str(self.log), *self.flags),
            ],
            cwd=self.checkout,
            env={**os.environ, **self._environment(), **self.env},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.client = httpx.Client(base_url=self.url, auth=self.auth, timeout=_PICTURE_S)
        started = time.monotonic()
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() - started > _READY_S:
                said = self.output()[-4000:]
                self.stop()
                raise RuntimeError(f"SD.Next did not start:\n{said}")
            time.sleep(0.3)
        self.ready_s = time.monotonic() - started
        return self

    def stop(self) -> None:
        """End this process and wait for it."""
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        self._output.close()

    def restart(self) -> None:
        """Have it replace itself, as its page does, and wait until it is back."""
        found = shutil.which("python", path=self._environment()["PATH"])
        assert found is not None
        assert Path(found) == self.python, f"it would go on with {found}"
        assert self.client.post("/sdapi/v1/restart").status_code == 204
        started = time.monotonic()
        while self._is_ready():  # the old one still answers
            assert time.monotonic() - started < 30, "it did not restart"
            time.sleep(0.05)
        while not self._is_ready():
            assert time.monotonic() - started < _READY_S, self.output()[-4000:]
            time.sleep(0.3)

    def output(self) -> str:
        """Everything it printed."""
        return (self.folder / "output.log").read_text(encoding="utf-8", errors="replace")

    def logged(self) -> str:
        """Its log file."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def memory_mb(self) -> float:
        """Resident memory (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    # -- the host's own API ----------------------------------------------------------------------

    def txt2img(self, prompt: str, **more: Any) -> Picture:
        """One picture of the host's own API; always seed 42."""
        return self._picture("/sdapi/v1/txt2img", {**_order(prompt), **more})

    def img2img(self, prompt: str, **more: Any) -> Picture:
        """A picture of a grey picture."""
        start = BytesIO()
        Image.new("RGB", (128, 128), (120, 130, 140)).save(start, "PNG")
        init = base64.b64encode(start.getvalue()).decode()
        order = {**_order(prompt), "init_images": [init], "denoising_strength": 0.9}
        return self._picture("/sdapi/v1/img2img", {**order, **more})

    def control(self, prompt: str, **more: Any) -> Picture:
        """Through `StableDiffusionProcessingControl`, as the Control tab.

        Without `xyz` this host answers 500; with it, it looks for a script by a name that it does
        not have, and makes one ordinary picture.
        """
        order = {**_order(prompt), "xyz": {"x_type": "Nothing"}, **more}
        del order["width"], order["height"]
        order.update(width_before=128, height_before=128)
        answer = self.client.post("/sdapi/v1/control", json=order)
        answer.raise_for_status()
        body = answer.json()
        return Picture.from_base64(body["images"][0], html.unescape(body["info"]))

    def _picture(self, path: str, order: dict[str, Any]) -> Picture:
        answer = self.client.post(path, json=order)
        answer.raise_for_status()
        body = answer.json()
        return Picture.from_base64(body["images"][0], json.loads(body["info"])["infotexts"][0])

    # -- our API ---------------------------------------------------------------------------------

    def adapters(self) -> dict[str, dict[str, Any]]:
        """Every record by its file, relative to the LoRA folder."""
        items = self.client.get("/v1/adapters", params={"per_page": 1000}).json()["items"]
        root = self.lora_dir
        return {Path(item["file_path"]).relative_to(root).as_posix(): item for item in items}

    @property
    def lora_dir(self) -> Path:
        """Where its LoRA files lie."""
        return self.folder / "models" / "Lora"

    def change(self, file: str, **fields: Any) -> dict[str, Any]:
        """PATCH the record of a file."""
        record = self.adapters()[file]
        answer = self.client.patch(f"/v1/adapters/{record['id']}", json=fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["adapter"])

    def activate_only(self, **weights: float) -> None:
        """Make these records (by name) the active set, each with its weight."""
        for record in self.adapters().values():
            wanted = record["name"] in weights
            if wanted:
                body = {"active": True, "weight": weights[record["name"]]}
            elif record["active"]:
                body = {"active": False}
            else:
                continue
            answer = self.client.patch(f"/v1/adapters/{record['id']}", json=body)
            assert answer.status_code == 200, answer.text

    def generate(self, path: str, body: dict[str, Any]) -> tuple[Picture, dict[str, Any]]:
        """A picture through our own API; also the whole answer."""
        answer = self.client.post(f"/v1/generation/{path}", json=body)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        info = said["generation_info"]
        return Picture.from_base64(said["images"][0], info["infotexts"][0]), said

    def wait_for_scan(self) -> None:
        """Until the first scan is through."""
        started = time.monotonic()
        while True:
            overview = self.client.get("/v1/library").json()
            if overview.get("last_scan") and not overview.get("scanning_job_id"):
                return
            assert time.monotonic() - started < 60, overview
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            answer = self.client.get("/sdapi/v1/checkpoint")
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and bool(answer.json().get("name"))

    @property
    def user_data(self) -> Path:
        """The user's data folder as this host sees it: not that of whoever runs the tests."""
        return self.folder.parent / f"{self.folder.name}-user"

    def _environment(self) -> dict[str, str]:
        return {
            "TORCH_COMPILE_DISABLE": "1",
            "HF_HUB_OFFLINE": "1",
            "XDG_DATA_HOME": str(self.user_data),
            # as its start script does, by activating: the host replaces itself by `python`, and
            # another one than its own would go and install everything anew
            "PATH": os.pathsep.join([str(self.python.parent), os.environ["PATH"]]),
            "VIRTUAL_ENV": str(self.python.parent.parent),
        }


def _order(prompt: str) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "seed": 42,
        "steps": 5,
        "width": 128,
        "height": 128,
        "cfg_scale": 6,
        "sampler_name": "Default",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
