"""The remote SD.Next over HTTP, against a stand-in server that answers as the real one does."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from lora_manager_core.backends.base import (
    GenerationCancelled,
    GenerationRequest,
    GenerationResult,
    StepProgress,
)
from lora_manager_core.backends.infotext import png_bytes, read_infotext
from lora_manager_core.backends.sdnext_client import SdnextClient
from lora_manager_core.backends.sdnext_http import SdnextHttpBackend
from lora_manager_core.backends.sdnext_models import architecture_label
from lora_manager_core.common.quoted import quoted
from lora_manager_core.errors import (
    BackendLoginRefused,
    BackendUnavailable,
    GenerationFailed,
    LoraManagerError,
    OutOfMemory,
)
from tests.fakes.sdnext_server import CHECKPOINT, NO_CHECKPOINT, FakeSdnext, png_base64

REQUEST = GenerationRequest(
    prompt="a night city", steps=4, sampler_name="Euler", width=64, height=64, seed=11
)
SLOW_S = 0.02
PAGE = (200, "text/html", b"<!DOCTYPE html><html><body>Welcome</body></html>")
TXT2IMG = "/sdapi/v1/txt2img"


@pytest.fixture
def host() -> Iterator[FakeSdnext]:
    with FakeSdnext() as host:
        yield host


@pytest.fixture
def backend(host: FakeSdnext) -> Iterator[SdnextHttpBackend]:
    backend = SdnextHttpBackend(host.url, poll_interval_s=0.01)
    yield backend
    backend.close()


def draw(backend: SdnextHttpBackend, **changes: Any) -> GenerationResult:
    return backend.generate(replace(REQUEST, **changes), lambda progress: None, lambda: False)


def info_of(*texts: str, **more: Any) -> str:
    return json.dumps({"all_seeds": [11], "infotexts": list(texts), **more})


def answer_with(images: Any, info: Any) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps({"images": images, "info": info}).encode()


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class TestProbe:
    def test_names_the_model_and_its_base(self, backend: SdnextHttpBackend) -> None:
        status = backend.probe()
        assert status.available
        assert (status.name, status.model) == ("sdnext", "Diffusers/tiny-sd")
        assert status.architecture == "SD 1.5"
        assert status.reason is None

    def test_nobody_there(self) -> None:
        address = f"127.0.0.1:{closed_port()}"
        status = SdnextHttpBackend(f"http://{address}").probe()
        assert not status.available
        assert address in (status.reason or "")

    def test_an_address_without_scheme_works(self, host: FakeSdnext) -> None:
        backend = SdnextHttpBackend(host.address)
        assert backend.probe().available
        backend.close()

    @pytest.mark.parametrize("login", [None, ("me", "wrong")], ids=["no login", "wrong password"])
    def test_login_refused(self, host: FakeSdnext, login: tuple[str, str] | None) -> None:
        host.login = ("me", "secret")
        user, password = login or (None, None)
        backend = SdnextHttpBackend(host.url, user, password)
        status = backend.probe()
        assert not status.available
        assert "SDNEXT_USER and SDNEXT_PASSWORD" in (status.reason or "")
        backend.close()

    def test_right_login(self, host: FakeSdnext) -> None:
        host.login = ("me", "secret")
        backend = SdnextHttpBackend(host.url, "me", "secret")
        assert backend.probe().available
        backend.close()

    def test_still_starting(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        host.starting = True
        assert "is starting" in (backend.probe().reason or "")

    def test_still_loading_its_model(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        host.checkpoint, host.task = NO_CHECKPOINT, "Load model"
        assert "still loading" in (backend.probe().reason or "")

    def test_no_model(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        host.checkpoint = NO_CHECKPOINT
        assert "load a checkpoint" in (backend.probe().reason or "")

    @pytest.mark.parametrize(
        "answer",
        [PAGE, (404, "text/html", b"<h1>nginx</h1>"), (200, "application/json", b'["hello"]')],
        ids=["a page", "a 404 page", "other JSON"],
    )
    def test_another_program(
        self, host: FakeSdnext, backend: SdnextHttpBackend, answer: tuple[int, str, bytes]
    ) -> None:
        host.fixed["/sdapi/v1/checkpoint"] = answer
        assert "is not an SD.Next" in (backend.probe().reason or "")

    def test_redirect_is_named_and_not_followed(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.fixed["/sdapi/v1/checkpoint"] = (308, "", b"http://elsewhere/sdnext/")
        assert "http://elsewhere/sdnext/" in (backend.probe().reason or "")

    def test_silence(self) -> None:
        def _silent(request: httpx.Request) -> httpx.Response:
            raise httpx.ReadTimeout("", request=request)

        backend = SdnextHttpBackend("http://host:7860", transport=httpx.MockTransport(_silent))
        assert "said nothing for 4.0 s" in (backend.probe().reason or "")
        backend.close()

    @pytest.mark.parametrize("url", ["::bad::", "http://[x", "ftp://host", "http://host:port", ""])
    def test_never_raises_for_an_impossible_address(self, url: str) -> None:
        status = SdnextHttpBackend(url).probe()
        assert not status.available
        assert status.reason

    def test_password_in_the_address_is_not_shown(self) -> None:
        status = SdnextHttpBackend(f"http://me:secret@127.0.0.1:{closed_port()}").probe()
        assert "secret" not in (status.reason or "secret")


class TestGenerate:
    def test_delivers_png_with_its_infotext_and_seed(self, backend: SdnextHttpBackend) -> None:
        result = draw(backend)
        (image,) = result.images
        assert (image.seed, image.width, image.height) == (11, 64, 64)
        assert image.infotext.startswith("a night city\nNegative prompt:")
        assert read_infotext(image.png) == image.infotext
        assert result.info["all_seeds"] == [11]
        assert result.warnings == ()

    def test_sends_the_whole_request(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        draw(backend, negative_prompt="rain", cfg_scale=5.5, batch_size=2, n_iter=3)
        (order,) = host.orders
        wanted = replace(REQUEST, negative_prompt="rain", cfg_scale=5.5, batch_size=2, n_iter=3)
        for field in ("prompt", "negative_prompt", "steps", "sampler_name", "cfg_scale", "width"):
            assert order[field] == getattr(wanted, field)
        assert (order["height"], order["seed"]) == (64, 11)
        assert (order["batch_size"], order["n_iter"]) == (2, 3)
        assert "denoising_strength" not in order

    def test_asks_for_exact_lora_strengths(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        draw(backend)
        assert host.orders[0]["override_settings"] == {"lora_fuse_native": False}

    def test_batches_come_in_order_with_their_seeds(self, backend: SdnextHttpBackend) -> None:
        result = draw(backend, batch_size=2, n_iter=2)
        assert [image.seed for image in result.images] == [11, 12, 13, 14]
        assert [f"Seed: {image.seed}" in image.infotext for image in result.images] == [True] * 4

    def test_a_random_seed_is_the_one_the_host_took(self, backend: SdnextHttpBackend) -> None:
        assert draw(backend, seed=-1).images[0].seed == 1000

    @pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
    def test_a_lossy_picture_becomes_png_with_a_warning(
        self, host: FakeSdnext, backend: SdnextHttpBackend, image_format: str
    ) -> None:
        host.image_format = image_format
        result = draw(backend)
        with Image.open(BytesIO(result.images[0].png)) as image:
            assert image.format == "PNG"
        assert read_infotext(result.images[0].png) == result.images[0].infotext
        assert image_format in result.warnings[0]
        assert "samples_format" in result.warnings[0]

    def test_a_png_that_has_its_infotext_stays_as_it_is(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        png = png_bytes(Image.new("RGB", (64, 64)), "the text")
        host.answer = answer_with([base64.b64encode(png).decode()], info_of("the text"))
        assert draw(backend).images[0].png == png

    def test_a_grid_in_front_is_left_out(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.answer = answer_with(
            [png_base64(128, 128), png_base64(64, 64)],
            info_of("grid", "picture", index_of_first_image=1),
        )
        (image,) = draw(backend).images
        assert (image.width, image.infotext, image.seed) == (64, "picture", 11)

    def test_another_size_and_denoising_are_warned_of(self, backend: SdnextHttpBackend) -> None:
        warnings = draw(backend, width=70, denoising_strength=0.5).warnings
        assert any("denoising_strength" in warning for warning in warnings)
        assert "SD.Next made 64x64 of 70x64." in warnings

    def test_a_lora_the_host_did_not_apply_is_warned_of(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.loras = ("tiny-red", "tiny-blue")
        prompt = "city <lora:tiny-red:0.5><lora:tiny-blue:1><lora:red:0.5><lora:unused:0>"
        (warning,) = draw(backend, prompt=prompt).warnings
        assert "“red”" in warning

    def test_uses_the_login(self, host: FakeSdnext) -> None:
        host.login = ("me", "secret")
        backend = SdnextHttpBackend(host.url, "me", "secret", poll_interval_s=0.01)
        assert len(draw(backend).images) == 1
        backend.close()

    def test_works_again_after_close(self, backend: SdnextHttpBackend) -> None:
        draw(backend)
        backend.close()
        assert len(draw(backend).images) == 1

    def test_two_threads_take_turns(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        host.step_s = 0.005
        seeds: list[int] = []
        threads = [
            threading.Thread(target=lambda s=s: seeds.append(draw(backend, seed=s).images[0].seed))
            for s in (1, 2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(seeds) == [1, 2]


class TestOwnScript:
    def test_is_switched_off_where_the_host_has_it(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.scripts = ["xyz grid", "lora manager"]
        draw(backend)
        assert host.orders[0]["alwayson_scripts"] == {"LoRA Manager": {"args": [False]}}

    def test_is_never_sent_to_a_host_that_lacks_it(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        draw(backend)
        assert "alwayson_scripts" not in host.orders[0]

    def test_a_host_restarted_without_it_is_noticed(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.scripts = ["lora manager"]
        draw(backend)
        host.scripts = []
        draw(backend)
        assert ["alwayson_scripts" in order for order in host.orders] == [True, False]


class TestProgress:
    def test_grows_over_all_batches(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        host.step_s = SLOW_S
        seen: list[StepProgress] = []
        backend.generate(replace(REQUEST, n_iter=2), seen.append, lambda: False)
        fractions = [progress.fraction for progress in seen]
        assert fractions == sorted(set(fractions))
        assert fractions[0] < 0.5 < fractions[-1] < 1
        assert all(progress.steps == 4 and 0 <= progress.step < 4 for progress in seen)
        assert seen[-1].eta_s is not None

    @pytest.mark.parametrize(
        "answer",
        [(429, "application/json", b"{}"), (200, "text/html", b"<p>"), (200, "a/b", b'["x"]')],
        ids=["rate limit", "page", "other JSON"],
    )
    def test_no_news_is_no_failure(
        self, host: FakeSdnext, backend: SdnextHttpBackend, answer: tuple[int, str, bytes]
    ) -> None:
        host.step_s, host.fixed["/sdapi/v1/status"] = SLOW_S, answer
        seen: list[StepProgress] = []
        result = backend.generate(REQUEST, seen.append, lambda: False)
        assert len(result.images) == 1
        assert seen == []


class TestPreviews:
    @staticmethod
    def seen(host: FakeSdnext, wanted: bool) -> list[StepProgress]:
        host.step_s = 0.05
        backend = SdnextHttpBackend(host.url, poll_interval_s=0.01, preview_interval_s=0.1)
        seen: list[StepProgress] = []
        backend.generate(replace(REQUEST, steps=20), seen.append, lambda: False, lambda: wanted)
        backend.close()
        return seen

    def test_come_along_with_progress_now_and_then(self, host: FakeSdnext) -> None:
        host.unfinished = png_base64(1024, 512)
        previews = [p.preview for p in self.seen(host, True) if p.preview is not None]
        assert 3 <= len(previews) == host.previews <= 12  # of a second's work
        with Image.open(BytesIO(previews[0])) as image:
            assert (image.format, image.size) == ("JPEG", (512, 256))

    def test_nobody_looks(self, host: FakeSdnext) -> None:
        host.unfinished = png_base64()
        assert all(progress.preview is None for progress in self.seen(host, False))
        assert host.previews == 0

    @pytest.mark.parametrize(
        "sent",
        [None, "", "no base64!", base64.b64encode(b"GIF89a no picture").decode()],
        ids=["none yet", "empty", "not base64", "no picture"],
    )
    def test_what_is_no_picture(self, host: FakeSdnext, sent: str | None) -> None:
        host.unfinished = sent
        seen = self.seen(host, True)
        assert seen
        assert all(progress.preview is None for progress in seen)


class TestCancel:
    def test_stops_within_two_steps(self, host: FakeSdnext) -> None:
        """With the poll interval of every day."""
        backend = SdnextHttpBackend(host.url)
        host.step_s = 0.2
        cancelled = threading.Event()
        steps_then: list[int] = []

        def _cancel() -> None:
            assert host.began.wait(5)
            threading.Event().wait(0.7)
            steps_then.append(host.steps_done)
            cancelled.set()

        threading.Thread(target=_cancel).start()
        with pytest.raises(GenerationCancelled):
            backend.generate(replace(REQUEST, steps=100), lambda p: None, cancelled.is_set)
        backend.close()
        assert host.steps_done - steps_then[0] <= 2
        assert host.finished == []

    def test_before_anything_is_sent(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        with pytest.raises(GenerationCancelled):
            backend.generate(REQUEST, lambda progress: None, lambda: True)
        assert host.orders == []

    def test_while_running_interrupts_the_host(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.step_s = SLOW_S
        with pytest.raises(GenerationCancelled):
            backend.generate(replace(REQUEST, steps=500), lambda p: None, host.began.is_set)
        assert host.interrupts >= 1
        assert host.finished == []

    def test_in_the_hosts_queue_spares_the_picture_in_front(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.step_s = SLOW_S
        other = threading.Thread(target=_order_directly, args=(host, 30))
        other.start()
        assert host.began.wait(5)
        with pytest.raises(GenerationCancelled):
            backend.generate(replace(REQUEST, steps=500), lambda p: None, _after(calls=2))
        other.join(5)
        assert [order["prompt"] for order in host.finished] == ["somebody else's"]
        assert host.interrupts >= 1

    def test_in_our_own_queue(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        host.step_s = SLOW_S
        first = threading.Thread(target=draw, args=(backend,), kwargs={"steps": 20})
        first.start()
        assert host.began.wait(5)
        with pytest.raises(GenerationCancelled):
            backend.generate(REQUEST, lambda progress: None, lambda: True)
        first.join(5)
        assert len(host.orders) == len(host.finished) == 1

    def test_a_failure_while_cancelling_is_a_cancel(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.dies = True
        with pytest.raises(GenerationCancelled):
            backend.generate(REQUEST, lambda progress: None, host.began.is_set)


class TestQueued:
    def test_anothers_progress_is_not_told_as_ours(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.step_s = SLOW_S
        other = threading.Thread(target=_order_directly, args=(host, 10))
        other.start()
        assert host.began.wait(5)
        seen: list[StepProgress] = []
        backend.generate(replace(REQUEST, steps=15), seen.append, lambda: False)
        other.join(5)
        assert seen
        assert {progress.steps for progress in seen} == {15}

    def test_a_host_that_looks_busy_after_an_error_is_not_waited_for(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.task, host.step_s = "API-TXT", SLOW_S
        assert len(draw(backend).images) == 1


class TestFailures:
    def test_nobody_there(self) -> None:
        address = f"127.0.0.1:{closed_port()}"
        with pytest.raises(BackendUnavailable, match=address):
            draw(SdnextHttpBackend(f"http://{address}"))

    def test_connection_dropped_while_it_works(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.dies = True
        with pytest.raises(BackendUnavailable, match=f"{host.address} dropped the connection"):
            draw(backend)

    def test_machine_gone_without_a_word(self) -> None:
        never = threading.Event()
        sent = threading.Event()

        def _gone(request: httpx.Request) -> httpx.Response:
            if request.url.path == TXT2IMG:
                sent.set()
                never.wait(20)
            if sent.is_set():
                raise httpx.ConnectTimeout("timed out", request=request)
            return httpx.Response(200, json=CHECKPOINT)

        backend = SdnextHttpBackend(
            "http://host:7860",
            transport=httpx.MockTransport(_gone),
            poll_interval_s=0.01,
            lost_after_s=0.05,
        )
        with pytest.raises(BackendUnavailable, match="Nothing answers at http://host:7860"):
            draw(backend)
        never.set()

    def test_no_model(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        host.checkpoint = NO_CHECKPOINT
        with pytest.raises(BackendUnavailable, match="load a checkpoint"):
            draw(backend)
        assert host.orders == []

    @pytest.mark.parametrize("status", [401, 403])
    def test_login_refused(self, host: FakeSdnext, backend: SdnextHttpBackend, status: int) -> None:
        host.fixed[TXT2IMG] = (status, "application/json", b"{}")
        with pytest.raises(BackendLoginRefused, match="SDNEXT_USER"):
            draw(backend)

    @pytest.mark.parametrize(
        ("answer", "error", "words"),
        [
            ((404, "application/json", b'{"detail":"Not Found"}'), BackendUnavailable, "starting"),
            (answer_with([], ""), BackendUnavailable, "still starting, or no model"),
            (answer_with(None, ""), BackendUnavailable, "still starting, or no model"),
            ((503, "text/html", b"<h1>x</h1>"), BackendUnavailable, "HTTP 503"),
            ((429, "application/json", b"{}"), GenerationFailed, "server_rate_limit"),
            (
                (
                    500,
                    "application/json",
                    b'{"error":"IndexError","detail":"","errors":"bad index"}',
                ),
                GenerationFailed,
                r"failed \(HTTP 500\): bad index",
            ),
            (
                (500, "text/html", b"<html><style>p{}</style><p>No &amp; no</p></html>"),
                GenerationFailed,
                r"\(HTTP 500\): No & no$",
            ),
            ((422, "application/json", b'{"detail":[{"msg":"bad"}]}'), GenerationFailed, "bad"),
            (
                (500, "application/json", b'{"errors":"CUDA out of memory. Tried to allocate"}'),
                OutOfMemory,
                "Make the picture smaller",
            ),
            (PAGE, GenerationFailed, "a web page instead of JSON"),
            ((200, "application/json", b'{"images": ['), GenerationFailed, "instead of JSON"),
            ((200, "application/json", b"[1]"), GenerationFailed, "no pictures where"),
            (answer_with([png_base64()], "{"), GenerationFailed, "`info`"),
            (answer_with([png_base64()], [1]), GenerationFailed, "`info`"),
            (answer_with([7], info_of("x")), GenerationFailed, "cannot be read"),
            (answer_with(["%%%"], info_of("x")), GenerationFailed, "cannot be read"),
            (answer_with([""], info_of("x")), GenerationFailed, "cannot be read"),
            (
                answer_with([base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0").decode()], info_of("x")),
                GenerationFailed,
                "cannot be read",
            ),
        ],
        ids=[
            "API not there",
            "no pictures at all",
            "null for pictures",
            "proxy without a host",
            "rate limit",
            "error of the host",
            "error page",
            "refused field",
            "out of memory",
            "a page",
            "cut JSON",
            "other JSON",
            "broken info",
            "info that is no text",
            "numbers for pictures",
            "invalid base64",
            "empty picture",
            "a format that runs programs",
        ],
    )
    def test_answers(
        self,
        host: FakeSdnext,
        backend: SdnextHttpBackend,
        answer: tuple[int, str, bytes],
        error: type[LoraManagerError],
        words: str,
    ) -> None:
        host.answer = answer
        with pytest.raises(error, match=words):
            draw(backend)

    def test_unknown_sampler(self, backend: SdnextHttpBackend) -> None:
        with pytest.raises(GenerationFailed, match="“DPM Karras”"):
            draw(backend, sampler_name="DPM Karras")

    def test_interrupted_by_somebody_there(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.interrupted_by_itself = True
        with pytest.raises(GenerationFailed, match="somebody interrupted it there"):
            draw(backend)

    def test_pipeline_error_is_read_from_the_log(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.pipeline_error = 'The size of tensor "a" (64) must match'
        with pytest.raises(GenerationFailed, match='picture: The size of tensor "a"'):
            draw(backend)

    def test_out_of_memory_in_the_log(self, host: FakeSdnext, backend: SdnextHttpBackend) -> None:
        host.pipeline_error = "CUDA out of memory. Tried to allocate 20 GiB"
        with pytest.raises(OutOfMemory):
            draw(backend)

    def test_fewer_pictures_than_asked_for(
        self, host: FakeSdnext, backend: SdnextHttpBackend
    ) -> None:
        host.answer = answer_with([png_base64()], info_of("x"))
        with pytest.raises(GenerationFailed, match="stopped before"):
            draw(backend, n_iter=2)

    def test_an_answer_without_end_is_cut_off(self) -> None:
        def _endless(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=(b"x" * 1024 for _ in range(10**9)))

        client = SdnextClient("http://host:7860", transport=httpx.MockTransport(_endless))
        with pytest.raises(GenerationFailed, match="more than 1 MiB"):
            client.send("GET", "/", limit_bytes=2**20)
        client.close()

    def test_what_the_host_says_is_bounded(self) -> None:
        assert len(quoted("<p>" + "word " * 500)) <= 300


class TestPromptNames:
    def test_follow_the_hosts_rule(self, backend: SdnextHttpBackend) -> None:
        files = [Path("/loras/a.v2.safetensors"), Path("/loras/x/b.pt"), Path("/loras/y/b.pt")]
        names = backend.prompt_names(files)
        assert [names[file].name for file in files] == ["a_v2", None, None]


@pytest.mark.parametrize(
    ("model_type", "pipeline", "name", "label"),
    [
        ("sd", "StableDiffusionPipeline", "dreamshaper_8", "SD 1.5"),
        ("sd", "StableDiffusionPipeline", "v2-1_768-ema-pruned", "SD 2.x"),
        ("sd", "StableDiffusionPipeline", "sd2.1", "SD 2.x"),
        ("sd", "StableDiffusionPipeline", "Diffusers/stabilityai/stable-diffusion-2-1", "SD 2.x"),
        ("sd", "StableDiffusionPipeline", "realisticVision_v20", "SD 1.5"),
        ("sdxl", "StableDiffusionXLPipeline", "juggernaut", "SDXL"),
        ("f1", "FluxPipeline", "flux1-dev", "Flux.1"),
        ("f2", "Flux2Pipeline", "FLUX.2-dev", "Flux.2 Dev"),
        ("f2", "Flux2KleinPipeline", "FLUX.2-klein-4B", "Flux.2 Klein 4B"),
        ("f2", "Flux2KleinPipeline", "mine", "Flux.2"),
        ("wanai", "WanPipeline", "wan2.2", "Wan"),
        ("veo3", "GoogleVeo", "veo", None),
        ("", "", "", None),
    ],
)
def test_base_model_labels(model_type: str, pipeline: str, name: str, label: str | None) -> None:
    assert architecture_label(model_type, pipeline, name) == label


def _order_directly(host: FakeSdnext, steps: int) -> None:
    order = {
        "prompt": "somebody else's",
        "negative_prompt": "",
        "sampler_name": "Euler",
        "steps": steps,
        "seed": 1,
        "width": 64,
        "height": 64,
        "batch_size": 1,
        "n_iter": 1,
    }
    httpx.post(host.url + TXT2IMG, json=order, trust_env=False)


def _after(calls: int) -> Any:
    """`is_cancelled` that turns true after so many questions."""
    asked = 0

    def _is_cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > calls

    return _is_cancelled
