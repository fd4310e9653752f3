"""Side files of other programs: what is taken from which, and that none of them can hurt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.library.side_files import SideFacts, preview_of, read_side_files
from lora_manager_core.library.side_formats import READERS, plain_text

SHA = "ab" * 32
VERSION: dict[str, Any] = {
    "id": 22, "modelId": 11, "name": "v2", "createdAt": "2024-01-02T03:04:05.678Z",
    "baseModel": "Pony", "trainedWords": ["hero", " hero ", "cape"], "description": "<p>Newer</p>",
    "creator": {"username": "somebody"}, "downloadUrl": "https://civitai.example/22",
    "model": {"name": "Hero", "tags": ["style", {"name": "comic"}], "nsfw": False, "poi": False,
              "description": "<p>A&nbsp;hero &amp; a<br>cape</p><script>bad()</script>"},
    "files": [{"name": "other.safetensors", "hashes": {"SHA256": "cd" * 32}},
              {"name": "hero.safetensors", "hashes": {"SHA256": SHA.upper()}}],
    "images": [{"url": "x" * 9000}] * 5, "stats": {"downloadCount": 5, "rating": "none"},
    "air": "urn:air:sdxl:lora:civitai:11@22",
}  # fmt: skip


@pytest.fixture
def read(tmp_path: Path):
    def read(stem: str = "hero", **files: Any) -> SideFacts:
        for ending, content in files.items():
            name = "Hero." + ending.replace("__", ".").replace("_", "-")
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            (tmp_path / name).write_bytes(raw)
        names = {path.name.lower(): path.name for path in tmp_path.iterdir()}
        return read_side_files(str(tmp_path), stem, names)

    return read


class TestCivitaiVersion:
    def test_tells_nearly_everything(self, read) -> None:
        facts = read(civitai__info=VERSION)
        assert facts.name == "Hero"
        assert facts.version_name == "v2"
        assert facts.description == "A hero & a\ncape"
        assert facts.author_username == "somebody"
        assert facts.tags == ("style", "comic")
        assert facts.trained_words == ("hero", "cape")
        assert facts.base_model == "Pony"
        assert facts.nsfw_level == 1
        assert facts.published_at == "2024-01-02T03:04:05.678000Z"
        assert facts.sha256 == SHA
        assert facts.download_url == "https://civitai.example/22"
        assert facts.stats == {"downloadCount": 5}
        assert facts.extra["civitai"] == {"model_id": 11, "version_id": 22}
        assert facts.extra["version_description"] == "Newer"

    def test_keeps_small_unknown_fields_and_drops_picture_lists(self, read) -> None:
        facts = read(civitai__info={**VERSION, "future": {"a": 1}, "blob": "x" * 40_000})
        kept = facts.extra["civitai.info"]
        assert kept["future"] == {"a": 1}
        assert kept["air"] == VERSION["air"]
        assert kept["model"] == {"poi": False}
        assert "blob" not in kept
        assert "images" not in kept

    def test_describes_the_json_file_by_size_and_time(self, read, tmp_path: Path) -> None:
        facts = read(civitai__info=VERSION)
        status = (tmp_path / "Hero.civitai.info").stat()
        assert facts.json_file_path == str(tmp_path / "Hero.civitai.info")
        assert facts.json_file_size == status.st_size
        assert facts.json_file_mtime_ns == status.st_mtime_ns


class TestJson:
    MODEL = {"id": 11, "name": "Hero", "tags": ["x"], "creator": {"username": "a"},
             "modelVersions": [{"id": 1, "name": "v1", "baseModel": "SD 1.5"},
                               {"id": 22, "name": "v2", "baseModel": "Pony",
                                "files": [{"name": "hero.safetensors"}]}]}  # fmt: skip

    def test_a_civitai_model_speaks_of_the_version_with_our_file(self, read) -> None:
        facts = read(json=self.MODEL)
        assert (facts.version_name, facts.base_model) == ("v2", "Pony")
        assert facts.extra["civitai"] == {"model_id": 11, "version_id": 22}

    def test_a_version_that_is_not_ours_is_not_guessed(self, read) -> None:
        versions = [{"id": 1, "baseModel": "A"}, {"id": 2, "baseModel": "B"}]
        facts = read(json={**self.MODEL, "modelVersions": versions})
        assert facts.name == "Hero"
        assert facts.base_model is None

    def test_the_version_id_of_a_richer_file_picks_the_version(self, read) -> None:
        versions = [{"id": 22, "downloadUrl": "https://a.example/22"}, {"id": 23}]
        version = {k: v for k, v in VERSION.items() if k != "downloadUrl"}
        facts = read(civitai__info=version, json={**self.MODEL, "modelVersions": versions})
        assert facts.download_url == "https://a.example/22"
        assert facts.sources["download_url"] == "json"

    def test_words_of_an_a1111_user(self, read) -> None:
        facts = read(
            json={
                "description": "mine", "sd version": "SDXL", "activation text": "hero, cape",
                "preferred weight": 0.7, "negative text": "blurry", "notes": "good at 0.7",
            }
        )  # fmt: skip
        assert facts.description == "mine"
        assert facts.base_model == "SDXL"
        assert facts.activation_text == "hero, cape"
        assert facts.preferred_weight == 0.7
        assert facts.negative_prompt == "blurry"
        assert facts.notes == "good at 0.7"

    def test_a_weight_of_zero_means_not_set(self, read) -> None:
        assert read(json={"preferred weight": 0}).preferred_weight is None


class TestOtherPrograms:
    def test_comfyui_lora_manager(self, read) -> None:
        facts = read(
            metadata__json={
                "model_name": "Mine", "base_model": "Unknown", "sha256": SHA, "tags": ["own"],
                "notes": "n", "civitai": VERSION,
                "usage_tips": '{"strength":0.6,"strength_min":0.2,"clip_strength":1,"clip_skip":2}',
                "preview_nsfw_level": 8, "modelDescription": "<b>d</b>", "favorite": True,
            }
        )  # fmt: skip
        assert (facts.name, facts.base_model, facts.tags) == ("Mine", "Pony", ("own",))
        assert (facts.notes, facts.preferred_weight, facts.description) == ("n", 0.6, "d")
        assert (facts.weight_min, facts.weight_max, facts.weight_te) == (0.2, None, 1.0)
        assert facts.favorite is True
        assert facts.extra["metadata.json"] == {"usage_tips": {"clip_skip": 2}}

    def test_stability_matrix(self, read) -> None:
        facts = read(
            cm_info__json={
                "ModelId": 11, "ModelName": "Hero", "VersionId": 22, "VersionName": "v2",
                "BaseModel": "Pony", "Tags": ["t"], "TrainedWords": ["w"], "Nsfw": True,
                "AuthorUsername": "somebody",
                "Hashes": {"SHA256": SHA.upper()}, "Stats": {"DownloadCount": 3},
            }
        )  # fmt: skip
        assert (facts.name, facts.version_name, facts.base_model) == ("Hero", "v2", "Pony")
        assert (facts.sha256, facts.nsfw_level, facts.author_username) == (SHA, 4, "somebody")
        assert facts.stats == {"downloadCount": 3}
        assert facts.extra["civitai"] == {"model_id": 11, "version_id": 22}

    def test_swarm(self, read) -> None:
        facts = read(
            swarm__json={
                "modelspec.title": "Hero", "modelspec.trigger_phrase": "a, b", "tags": "x, y",
                "modelspec.architecture": "flux-1-dev/lora", "modelspec.thumbnail": "data:" * 900,
                "modelspec.date": "2024-05-06",
            }
        )  # fmt: skip
        assert (facts.name, facts.trained_words, facts.tags) == ("Hero", ("a", "b"), ("x", "y"))
        assert facts.base_model == "flux-1-dev/lora"
        assert facts.published_at == "2024-05-06T00:00:00.000000Z"
        assert "swarm.json" not in facts.extra

    def test_a_text_file_is_a_description(self, read) -> None:
        assert read(txt="\ufeffHow <to> use\n".encode()).description == "How <to> use"


class TestPrecedence:
    def test_poorer_never_overwrites_richer_and_fills_gaps(self, read) -> None:
        facts = read(
            civitai__info=VERSION,
            json={"description": "poor", "sd version": "SD1", "notes": "n"},
            txt=b"poorest",
        )
        assert facts.description == "A hero & a\ncape"
        assert facts.base_model == "Pony"
        assert facts.notes == "n"
        assert facts.sources["base_model"] == "civitai.info"
        assert facts.sources["notes"] == "json"

    def test_an_empty_field_does_not_count(self, read) -> None:
        facts = read(
            civitai__info={**VERSION, "trainedWords": []}, swarm__json={"trigger_phrase": "w"}
        )
        assert facts.trained_words == ("w",)


class TestProblems:
    def test_nothing_there(self, read) -> None:
        assert read() == SideFacts()

    @pytest.mark.parametrize(
        ("raw", "problem"),
        [(b"{nope", "not valid JSON"), (b"[1]", "not a JSON object"), (b"", "not valid JSON"),
         (b'{"a":"' + b"x" * 4_200_000 + b'"}', "larger than 4 MB"),
         (b"[" * 100_000, "not valid JSON")],
        ids=["broken", "a list", "empty", "huge", "deep"],
    )  # fmt: skip
    def test_are_reported_and_the_next_file_speaks(self, read, raw: bytes, problem: str) -> None:
        facts = read(civitai__info=raw, json={"notes": "n"})
        assert len(facts.problems) == 1
        assert facts.problems[0].startswith("Hero.civitai.info")
        assert problem in facts.problems[0]
        assert facts.notes == "n"

    def test_a_file_that_has_gone_since_the_listing(self, tmp_path: Path) -> None:
        facts = read_side_files(str(tmp_path), "a", {"a.json": "a.json"})
        assert "cannot be read" in facts.problems[0]

    @pytest.mark.parametrize("value", [None, 7, True, "x", [], [[1]], {}, {"a": {"b": 1}}, -1.5])
    @pytest.mark.parametrize("source", READERS)
    def test_any_type_anywhere_is_survived(self, source: str, value: Any) -> None:
        names = [
            "id",
            "modelId",
            "name",
            "model",
            "creator",
            "files",
            "hashes",
            "stats",
            "tags",
            "trainedWords",
            "description",
            "images",
            "nsfwLevel",
            "publishedAt",
            "modelVersions",
            "civitai",
            "Hashes",
            "Stats",
            "Tags",
            "base_model",
            "usage_tips",
            "downloadUrl",
            "title",
            "date",
            "trigger_phrase",
            "usage_hint",
        ]
        READERS[source](dict.fromkeys(names, value), "hero", None)
        READERS[source](
            {"model": dict.fromkeys(names, value), "files": [value], "id": value}, "h", 1
        )

    def test_nul_characters_are_taken_out(self, read) -> None:
        facts = read(json={"notes": "a\0b", "x\0": ["\0"]})
        assert facts.notes == "ab"
        assert facts.extra["json"] == {"x": [""]}


class TestEncodings:
    @pytest.mark.parametrize(
        "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
    )
    def test_of_windows_are_read(self, read, encoding: str) -> None:
        facts = read(json='{"notes": "für"}'.encode(encoding), txt="schön".encode(encoding))
        assert facts.notes == "für"
        if encoding != "utf-16-le":  # a text without a mark says nothing of its encoding
            assert facts.description is not None
        guessed = [problem for problem in facts.problems if "Windows-1252" in problem]
        assert len(guessed) == (2 if encoding == "cp1252" else 0)

    @pytest.mark.parametrize(
        ("raw", "kept"),
        [(b'{"notes": "n", "x": NaN}', {"x": None}),
         (b'{"notes": "n", "x": -Infinity}', {"x": None}),
         (b'{"notes": "n", "x": "\\ud83d"}', {"x": "?"}),
         (b'{"notes": "n", "x": 1e999}', {"x": None}),
         (b'{"notes": "n", "x": NaN, "y": ' + b"9" * 400 + b"}", {"x": None, "y": None})],
        ids=["NaN", "infinity", "half a character", "too large", "whole and too large"],
    )  # fmt: skip
    def test_what_python_writes_beyond_json_is_read(self, read, raw: bytes, kept: Any) -> None:
        facts = read(json=raw)
        assert (facts.notes, facts.problems) == ("n", ())
        assert facts.extra["json"] == kept


class TestLookUp:
    def test_fills_what_people_did_not_write(self, tmp_path: Path) -> None:
        (tmp_path / "hero.json").write_text('{"description": "mine", "modelId": 11}')
        (tmp_path / "hero.txt").write_text("poor")
        names = {"hero.json": "hero.json", "hero.txt": "hero.txt"}
        facts = read_side_files(str(tmp_path), "hero", names, VERSION)
        assert (facts.description, facts.trained_words) == ("mine", ("hero", "cape"))
        assert facts.sources["trained_words"] == "look-up"
        assert (facts.model_id, facts.version_id) == (11, 22)

    def test_another_models_version_is_not_mixed_in(self, tmp_path: Path) -> None:
        (tmp_path / "hero.json").write_text('{"modelId": 7}')
        facts = read_side_files(str(tmp_path), "hero", {"hero.json": "hero.json"}, VERSION)
        assert (facts.model_id, facts.version_id) == (7, None)


class TestPreview:
    @pytest.mark.parametrize(
        ("files", "chosen"),
        [(["A.png", "A.preview.jpg"], "A.preview.jpg"), (["A.WEBP", "a.mp4"], "A.WEBP"),
         (["A.webm"], "A.webm"), (["b.png", "A.txt"], None)],
        ids=["preview first", "picture before clip", "clip", "none"],
    )  # fmt: skip
    def test_is_chosen_by_name(self, files: list[str], chosen: str | None) -> None:
        assert preview_of("a", {name.lower(): name for name in files}) == chosen


class TestPlainText:
    @pytest.mark.parametrize(
        ("markup", "text"),
        [
            ("<a" * 1_000_000, "<a" * 500_000), ("<p>a</p><p>b</p>", "a\nb"), ("a<br/>b", "a\nb"),
            ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
            ("1 < 2 &lt; 3", "1 < 2 < 3"), ("<!-- x -->y<style>p{}</style>", "y"),
            ("<script>alert(1)", ""), ("a\n\n\n\nb", "a\n\nb"), ('<a href="x>y">z</a>', 'y">z'),
        ],
    )  # fmt: skip
    def test_html_becomes_text(self, markup: str, text: str) -> None:
        assert plain_text(markup) == text
