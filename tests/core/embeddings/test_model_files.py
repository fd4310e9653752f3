"""Which model it is, and what is said of one that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import PrecisionMemory
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.errors import EmbeddingUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something that looks like a model from outside."""
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"1" * 5000)
    return folder


class TestFingerprint:
    def test_is_the_same_for_a_copy_and_another_for_other_weights(
        self, folder: Path, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())

        first = ModelFiles(str(folder)).fingerprint()

        assert first is not None
        assert ModelFiles(str(copy)).fingerprint() == first
        (copy / "model.safetensors").write_bytes(b"2" * 5000)
        assert ModelFiles(str(copy)).fingerprint() != first

    def test_follows_the_files_while_the_program_runs(self, folder: Path) -> None:
        files = ModelFiles(str(folder))
        first = files.fingerprint()

        (folder / "model.safetensors").write_bytes(b"1" * 6000)

        assert files.fingerprint() != first

    def test_a_folder_is_known_by_its_name(self, folder: Path) -> None:
        assert ModelFiles(str(folder)).label == "my-model"


class TestNotThere:
    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone"

        with pytest.raises(EmbeddingUnavailable, match="gone does not exist"):
            ModelFiles(str(gone)).folder()

    def test_a_folder_without_a_model_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(EmbeddingUnavailable, match="has no config.json"):
            ModelFiles(str(tmp_path)).folder()

    def test_what_is_neither_folder_nor_hub_name_is_said(self) -> None:
        with pytest.raises(EmbeddingUnavailable, match="neither a folder nor a hub name"):
            ModelFiles("https://hub/model").folder()

    @pytest.mark.embedded
    def test_a_hub_name_that_is_not_on_this_machine_is_not_there_yet(self) -> None:
        files = ModelFiles("nobody/no-such-model")

        assert files.folder() is None
        assert files.fingerprint() is None

    @pytest.mark.embedded
    def test_a_broken_model_is_remembered_with_its_folder_until_unloaded(
        self, folder: Path, tmp_path: Path
    ) -> None:
        model = SentenceEmbedder(ModelFiles(str(folder)), PrecisionMemory(tmp_path / "models"))

        for _ in range(2):
            with pytest.raises(EmbeddingUnavailable, match="my-model"):
                model.load()
        state = model.state()
        model.unload()

        assert state.status == "failed"
        assert "EMBEDDING_MODEL" in (state.problem or "")
        assert model.state().status == "idle"


class TestPrecision:
    def test_what_was_chosen_is_remembered_for_the_next_process(self, tmp_path: Path) -> None:
        PrecisionMemory(tmp_path).put("abc", "bf16")

        assert PrecisionMemory(tmp_path).get("abc") == "bf16"
        assert PrecisionMemory(tmp_path).get("other") is None

    @pytest.mark.parametrize("content", ["", "[1]", '{"abc": "int8"}', "\ufffd"])
    def test_a_damaged_file_is_as_good_as_none(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "precision.json").write_text(content, encoding="utf-8")
        memory = PrecisionMemory(tmp_path)

        assert memory.get("abc") is None
        memory.put("abc", "fp32")
        assert json.loads((tmp_path / "precision.json").read_text())["abc"] == "fp32"
