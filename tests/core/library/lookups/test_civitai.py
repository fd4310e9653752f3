"""Civitai's API as a provider, against a server that answers like it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from lora_manager_core.library.lookups.base import (
    ProviderBusy,
    ProviderRefused,
    ProviderUnavailable,
)
from lora_manager_core.library.lookups.civitai import CivitaiProvider
from tests.fakes.civitai import FakeCivitai

SHA = "ab" * 32


@pytest.fixture
def civitai() -> Iterator[FakeCivitai]:
    with FakeCivitai() as server:
        yield server


@pytest.fixture
def provider(civitai: FakeCivitai) -> Iterator[CivitaiProvider]:
    made = CivitaiProvider(civitai.url + "/", "secret", pause_s=0.0)
    yield made
    made.close()


class TestFinding:
    def test_joins_the_version_with_what_its_model_says(self, civitai, provider) -> None:
        version = civitai.add_version(SHA)
        found = provider.find(SHA)
        assert found == {
            **version,
            "model": {
                **version["model"],
                "description": "<p>A hero</p>",
                "tags": ["comic"],
            },
            "creator": {"username": "somebody"},
        }
        assert {headers["authorization"] for _, headers in civitai.requests} == {"Bearer secret"}

    def test_asks_for_each_model_once(self, civitai, provider) -> None:
        for sha256 in (SHA, "cd" * 32):
            civitai.add_version(sha256)
            provider.find(sha256)
        assert civitai.asked().count("/api/v1/models/11") == 1

    def test_a_model_that_is_gone_leaves_the_version(self, civitai, provider) -> None:
        version = civitai.add_version(SHA)
        del civitai.paths["/api/v1/models/11"]
        assert provider.find(SHA) == version

    def test_what_it_does_not_know_is_none(self, provider) -> None:
        assert provider.find(SHA) is None

    @pytest.mark.parametrize(
        ("answer", "error", "words"),
        [
            pytest.param((401, {}, b""), ProviderRefused, "CIVITAI_KEY", id="wrong-key"),
            pytest.param((503, {}, b""), ProviderUnavailable, "fails", id="down"),
            pytest.param((200, {}, b"<html>"), ProviderRefused, "CIVITAI_URL", id="no-json"),
            pytest.param((200, {}, b"[1]"), ProviderRefused, "CIVITAI_URL", id="a-list"),
            pytest.param((301, {"Location": "/x"}, b""), ProviderRefused, "301", id="elsewhere"),
            pytest.param(
                (200, {}, b" " * (8 * 2**20 + 1)), ProviderUnavailable, "8 MiB", id="too-large"
            ),
        ],
    )
    def test_other_answers_are_errors(self, civitai, provider, answer, error, words) -> None:
        civitai.answers.append(answer)
        with pytest.raises(error, match=words) as caught:
            provider.find(SHA)
        assert "secret" not in caught.value.detail

    @pytest.mark.parametrize(
        ("header", "low", "high"),
        [("7", 7, 7), ("soon", 30, 30), ("nan", 30, 30), ("1e9", 900, 900), ("-1", 0, 0),
         ("in 100 s", 60, 101)],
        ids=["seconds", "nonsense", "no number", "too long", "past", "date"],
    )  # fmt: skip
    def test_too_many_requests_say_how_long(self, civitai, provider, header, low, high) -> None:
        if header == "in 100 s":
            header = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100))
        civitai.answers.append((429, {"Retry-After": header}, b""))
        with pytest.raises(ProviderBusy) as caught:
            provider.find(SHA)
        assert low <= caught.value.retry_after_s <= high

    def test_nobody_there(self) -> None:
        with pytest.raises(ProviderUnavailable, match="cannot be reached"):
            CivitaiProvider("http://127.0.0.1:9").find(SHA)
        with pytest.raises(ProviderRefused, match="CIVITAI_URL"):
            CivitaiProvider("nonsense").find(SHA)


class TestPictures:
    def test_come_without_the_key(self, civitai, provider) -> None:
        civitai.add("/picture", b"png", "image/png")
        assert provider.picture(f"{civitai.url}/picture") == b"png"
        assert "authorization" not in civitai.requests[0][1]

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.2/x", "file:///etc/passwd", "http://127.0.0.1.example/x", "x"]
    )
    def test_only_from_its_own_servers(self, provider, url: str) -> None:
        with pytest.raises(ProviderRefused, match="does not lie on"):
            provider.picture(url)

    def test_of_its_image_servers_are_asked_for(self) -> None:
        with pytest.raises(ProviderUnavailable, match="reached"):
            CivitaiProvider("http://localhost:9").picture("http://image.localhost:9/x")
