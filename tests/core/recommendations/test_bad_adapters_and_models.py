"""Adapters and text models that are not as they should be: what is left still counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import PrecisionMemory
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.errors import EmbeddingUnavailable
from tests.core.conftest import Home
from tests.core.recommendations.asking import PREFIXES, ask, checked, compute_all, names
from tests.fakes.lora_files import write_lora
from tests.fakes.text_models import NO_EXTRA, FakeEmbedder

_MODULE = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


def _write(folder: Path, name: str, tensors: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    named = {f"{_MODULE}.{part}": np.ascontiguousarray(value) for part, value in tensors.items()}
    save_file(named, folder / f"{name}.safetensors")


class TestFiles:
    """Weights that cannot be compared: it is said, and the words of the adapter still count."""

    @pytest.fixture
    def home(self, make_home: Callable[..., Home], library: Path) -> Home:
        square = np.eye(40, dtype=np.float32)
        write = partial(_write, library / "odd")
        write("oft", {"oft_blocks": np.stack([square] * 8)})
        write("boft", {"oft_blocks": np.stack([np.stack([square] * 8)] * 3)})
        write("ia3", {"weight": np.ones(320, np.float32), "on_input": np.zeros(1, np.float32)})
        up, down = np.ones((320, 4), np.float32), np.ones((4, 768), np.float32)
        for name, value in (("not a number", np.nan), ("endless", np.inf)):
            broken = up.copy()
            broken[7, 3] = value
            write(name, {"lora_up.weight": broken, "lora_down.weight": down})
        write("nought", {"lora_up.weight": up * 0, "lora_down.weight": down})
        whole = (library / "odd" / "nought.safetensors").read_bytes()
        (library / "odd" / "cut off.safetensors").write_bytes(whole[: len(whole) // 2])
        (library / "odd" / "no file.safetensors").write_bytes(b"\xff" * 100)
        (library / "odd" / "pickle.ckpt").write_bytes(b"PK a pickle nobody opens")
        return make_home(FakeEmbedder())

    def test_of_every_odd_kind_have_their_reason(self, home: Home) -> None:
        compute_all(home)
        for name, word in {
            "oft": "OFT",
            "boft": "OFT",
            "ia3": "IA",
            "not a number": "finite",
            "endless": "finite",
            "pickle": "safetensors",
        }.items():
            answer = home.client.get(f"/v1/recommendations/embeddings/{home.adapter(name)['id']}")
            assert word in answer.text, (name, answer.text)

    def test_are_found_by_their_words_all_the_same(self, home: Home) -> None:
        for name in ("oft", "boft", "ia3", "not a number", "endless", "nought"):
            record = home.adapter(name)
            home.client.patch(f"/v1/adapters/{record['id']}", json={"tags": ["gouache"]})
        assert set(names(ask(home, prompt="gouache"))) >= {"oft", "ia3", "endless", "nought"}

    def test_are_like_others_by_what_is_known(self, home: Home) -> None:
        for record in home.adapters():
            answer = home.client.get(f"/v1/recommendations/similar/{record['id']}")
            assert answer.status_code == 200, (record["name"], answer.text)
            checked(answer.json())


class TestWithoutTheExtra:
    """What `home` is: no text model is installed."""

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_words_alone_answer_and_it_says_how_to_get_more(self, home: Home, prefix: str) -> None:
        answer = ask(home, prefix, prompt="portrait of alice, ink")
        assert answer["mode"] == "lexical"
        assert NO_EXTRA in answer["hint"]
        assert set(names(answer)) >= {"alice", "ink_v2"}
        assert {item["semantic_similarity"] for item in answer["recommendations"]} == {None}

    def test_computing_is_refused_with_what_to_install(self, home: Home) -> None:
        answer = home.client.post(
            "/v1/recommendations/embeddings/compute", json={"compute_all": True}
        )
        assert (answer.status_code, answer.json()["code"]) == (424, "extra_not_installed")
        assert NO_EXTRA in answer.json()["detail"]

    def test_everything_else_is_answered(self, home: Home) -> None:
        target = home.adapter("alice")["id"]
        for path in ("stats", "health", "embeddings", f"embeddings/{target}", f"similar/{target}"):
            answer = home.client.get(f"/v1/recommendations/{path}")
            assert answer.status_code == 200, (path, answer.text)


class TestAModelThatDoesNotWork:
    def test_is_told_with_its_reason_while_words_answer(
        self, make_home: Callable[..., Home]
    ) -> None:
        model = FakeEmbedder()
        model.failure = EmbeddingUnavailable("its weights are damaged; download it again")
        home = make_home(model)
        computed = home.client.post(
            "/v1/recommendations/embeddings/compute", json={"compute_all": True}
        )
        assert (computed.status_code, computed.json()["code"]) == (424, "embedding_unavailable")
        assert "damaged" in computed.json()["detail"]
        answer = ask(home, prompt="portrait of alice")
        assert answer["mode"] == "lexical"
        assert "damaged" in answer["hint"]
        assert names(answer) == ["alice"]

    @pytest.mark.embedded
    @pytest.mark.parametrize("config", [None, "{", "{}"], ids=["absent", "no JSON", "empty"])
    def test_in_its_folder_is_named(
        self, make_home: Callable[..., Home], tmp_path: Path, config: str | None
    ) -> None:
        folder = tmp_path / "broken model"
        folder.mkdir()
        if config is not None:
            (folder / "config.json").write_text(config)
        files = ModelFiles(str(folder))
        home = make_home(SentenceEmbedder(files, PrecisionMemory(tmp_path)))
        computed = home.client.post(
            "/v1/recommendations/embeddings/compute", json={"compute_all": True}
        )
        assert (computed.status_code, computed.json()["code"]) == (424, "embedding_unavailable")
        answer = ask(home, prompt="portrait of alice")
        assert (answer["mode"], names(answer)) == ("lexical", ["alice"])
        assert "LORA_MANAGER_EMBEDDING_MODEL" in answer["hint"]


class TestAnAdapterWithoutAnyText:
    def test_is_no_mistake(self, make_home: Callable[..., Home], library: Path) -> None:
        write_lora(library / "0001.safetensors", seed=7)
        home = make_home(FakeEmbedder())
        assert compute_all(home)["error_count"] == 0
        nameless = home.adapter("0001")["id"]
        known = home.client.get(f"/v1/recommendations/embeddings/{nameless}").json()
        assert known["has_semantic_embedding"] is False
        assert known["needs_recomputation"] is False
        answer = home.client.get(f"/v1/recommendations/similar/{nameless}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["hint"]
        assert "0001" not in names(ask(home, prompt="alice"))[:1]
