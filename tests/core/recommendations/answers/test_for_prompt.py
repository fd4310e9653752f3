from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from lora_manager_core.embeddings.base import EmbedderState
from lora_manager_core.errors import EmbeddingUnavailable, InvalidRequest
from lora_manager_core.recommendations.answers.diversity import diversified
from lora_manager_core.recommendations.answers.weights import WEIGHTS
from lora_manager_core.recommendations.taste.sessions import find_session
from tests.core.recommendations.answers.conftest import LIBRARY, Asking, item_of, names
from tests.fakes.embedded_adapters import (
    delete_adapter,
    edit_adapter,
    random_sketch,
    store_sketch,
)


class TestAnswer:
    def test_the_nearest_come_first(self, asking: Asking) -> None:
        answer = asking.prompt("misty mountains, ink wash painting")

        assert names(answer)[:2] == ["ink", "brush"]
        assert answer.mode == "semantic"
        assert answer.hint is None
        assert answer.total_candidates == len(LIBRARY)
        assert answer.processing_time_ms > 0

    def test_the_best_part_of_the_prompt_counts(self, asking: Asking) -> None:
        answer = asking.prompt("masterpiece, best quality, cyberpunk city at night, misty rivers")

        assert names(answer)[0] == "neon"
        assert set(names(answer)[1:3]) == {"ink", "brush"}
        assert "“cyberpunk city at night”" in (answer.recommendations[0].explanation or "")

    def test_a_misspelt_word_is_read_as_the_one_that_was_meant(self, asking: Asking) -> None:
        answer = asking.prompt("mountans mistty")

        assert set(names(answer)[:2]) == {"ink", "brush"}
        assert "“mountains misty”" in (item_of(answer, "ink").explanation or "")

    def test_addends_sum_to_the_score(self, asking: Asking) -> None:
        answer = asking.prompt("sumi stroke, ink mountans, ponies", style_preference="painting")

        assert len(answer.recommendations) == len(LIBRARY)
        for item in answer.recommendations:
            assert sum(addend.value for addend in item.addends) == pytest.approx(
                item.final_score, abs=1e-5
            )
        assert {a.name for item in answer.recommendations for a in item.addends} >= {
            "text", "tags", "words", "trigger", "style", "spelling",
        }  # fmt: skip

    def test_the_formula(self, asking: Asking) -> None:
        item = item_of(asking.prompt("sumi stroke, misty mountains"), "ink")
        values = {addend.name: addend.value for addend in item.addends}

        assert item.semantic_similarity is not None
        assert values["text"] == pytest.approx(0.95 * item.semantic_similarity, abs=1e-5)
        assert values["words"] == pytest.approx(0.10)
        assert values["trigger"] == pytest.approx(0.60)

    def test_the_explanation_is_written_from_the_addends(self, asking: Asking) -> None:
        answer = asking.prompt("sumi stroke, misty mountains", include_explanations=True)

        for item in answer.recommendations:
            said = sorted(item.addends, key=lambda addend: -abs(addend.value))
            expected = [a.detail for a in said if abs(a.value) >= 0.02]
            assert item.explanation == " ".join(str(text) for text in expected) or not expected
        ink = item_of(answer, "ink")
        assert "Its trigger “sumi stroke” is in the prompt." in (ink.explanation or "")
        assert "It has these words of the prompt: sumi, stroke, misty, mountains." in (
            ink.explanation or ""
        )

    def test_without_explanations(self, asking: Asking) -> None:
        answer = asking.prompt("ink", include_explanations=False)

        assert all(item.explanation is None for item in answer.recommendations)

    def test_a_session_is_kept(self, asking: Asking) -> None:
        answer = asking.prompt("ink wash")
        asking.sessions.flush()

        with asking.database.read() as session:
            logged = find_session(session, answer.session_id)
            assert logged is not None
            assert (logged.kind, logged.query, logged.mode) == (
                "for_prompt",
                "ink wash",
                "semantic",
            )
            assert [row[0] for row in logged.shown] == [
                item.lora_id for item in answer.recommendations
            ]


class TestFilters:
    def test_the_loaded_checkpoint(self, asking: Asking) -> None:
        asking.loaded = "SDXL"

        answer = asking.prompt("oil portrait")

        assert "oil" not in names(answer)
        assert "clay" in names(answer)  # nobody knows what it was made for
        assert answer.recommendation_config["base_model_from"] == "checkpoint"
        assert answer.recommendation_config["left_out"] == {"other_base_model": 1}
        assert answer.total_candidates == len(LIBRARY) - 1

    def test_what_is_asked_for_counts_more_than_the_checkpoint(self, asking: Asking) -> None:
        asking.loaded = "SDXL"

        answer = asking.prompt("oil portrait", technical_requirements={"base_model": "sd1.5"})

        assert set(names(answer)) == {"oil", "clay"}
        assert answer.recommendation_config["base_model"] == "SD 1.5"

    def test_the_same_family_is_a_bonus(self, asking: Asking) -> None:
        asking.loaded = "Pony"

        answer = asking.prompt("meadow")

        assert {a.name: a.value for a in item_of(answer, "pony").addends}["family"] > 0
        assert "family" not in {a.name for a in item_of(answer, "ink").addends}

    def test_active_ones_are_left_out_and_counted(self, asking: Asking) -> None:
        answer = asking.prompt("ink", active_loras=[asking.ids["ink"], "no such adapter"])

        assert "ink" not in names(answer)
        assert answer.recommendation_config["left_out"] == {"active": 1}

    @pytest.mark.parametrize(
        ("wanted", "left"),
        [
            pytest.param({"network_type": "lokr"}, {"rare"}, id="network-type"),
            pytest.param({"max_rank": 8}, {"rare"}, id="rank"),
            pytest.param({"max_file_size_mb": 0.0005}, {"rare"}, id="size"),
            pytest.param({"nsfw_max": 0}, {name for name, *_ in LIBRARY}, id="nsfw"),
        ],
    )
    def test_requirements(self, asking: Asking, wanted: dict[str, object], left: set[str]) -> None:
        asking.add("rare", network_type="LoKr", rank=4, file_size=400, nsfw_level=8)

        answer = asking.prompt("ink", technical_requirements=wanted)

        assert {item.lora_name for item in answer.recommendations} <= left
        assert answer.total_candidates == len(left)

    def test_files_that_are_gone_or_unreadable(self, asking: Asking) -> None:
        edit_adapter(asking.database, asking.ids["ink"], file_state="missing")
        edit_adapter(asking.database, asking.ids["brush"], file_problem="It is cut short.")

        answer = asking.prompt("ink painting")

        assert not {"ink", "brush"} & set(names(answer))
        assert answer.recommendation_config["left_out"] == {"file_missing_or_unreadable": 2}

    def test_when_nothing_is_left_it_says_why(self, asking: Asking) -> None:
        answer = asking.prompt("ink", active_loras=list(asking.ids.values()))

        assert answer.recommendations == []
        assert answer.hint == "No adapter is left to recommend (6 active)."


class TestWordsAlone:
    def test_without_a_model(self, lexical: Asking) -> None:
        answer = lexical.prompt("ink wash mountains")

        assert names(answer) == ["ink", "brush"]
        assert answer.mode == "lexical"
        assert answer.recommendation_config["model"] is None
        assert all(item.semantic_similarity is None for item in answer.recommendations)

    def test_a_misspelt_word(self, lexical: Asking) -> None:
        answer = lexical.prompt("mountians")

        assert names(answer) == ["ink"]
        assert [addend.name for addend in answer.recommendations[0].addends] == ["spelling"]

    def test_an_adapter_without_a_vector_is_found_among_those_with_one(
        self, asking: Asking
    ) -> None:
        asking.add("steam", description="steam locomotives crossing viaducts")

        answer = asking.prompt("steam locomotives crossing viaducts")

        assert names(answer)[0] == "steam"
        item = answer.recommendations[0]
        assert item.semantic_similarity is None
        assert "no vector yet" in (item.explanation or "")
        assert answer.recommendation_config["without_text_vector"] == 1

    def test_when_the_model_breaks_while_asked(self, asking: Asking) -> None:
        class _Broken(type(asking.embedder)):  # type: ignore[misc]
            def encode(self, *args: object) -> None:
                raise EmbeddingUnavailable("The model ran out of memory.")

        assert asking.embedder is not None
        asking.embedder.__class__ = _Broken

        answer = asking.prompt("ink wash")

        assert answer.mode == "lexical"
        assert names(answer)[0] == "ink"
        assert "The model ran out of memory." in (answer.hint or "")

    def test_while_the_model_loads(self, asking: Asking) -> None:
        assert asking.embedder is not None
        asking.embedder.status = EmbedderState("loading")

        answer = asking.prompt("ink wash")

        assert answer.mode == "lexical"
        assert "being loaded" in (answer.hint or "")


class TestChanges:
    """The next answer is right, and nobody rebuilt anything."""

    def test_added_edited_deleted(self, asking: Asking) -> None:
        assert names(asking.prompt("brass robots"))[0] != "robot"

        asking.add("robot", description="brass robots in a workshop")
        assert names(asking.prompt("brass robots"))[0] == "robot"

        assert asking.embedder is not None
        asking.embed(asking.embedder)
        assert item_of(asking.prompt("brass robots"), "robot").semantic_similarity is not None

        edit_adapter(asking.database, asking.ids["robot"], description="velvet curtains")
        assert names(asking.prompt("velvet curtains"))[0] == "robot"
        robot = item_of(asking.prompt("brass robots"), "robot")
        assert robot.semantic_similarity is None

        delete_adapter(asking.database, asking.ids["robot"])
        answer = asking.prompt("velvet curtains")
        assert "robot" not in names(answer)
        assert answer.total_candidates == len(LIBRARY)


class TestDiversity:
    def _spread(self, asking: Asking, scores: dict[str, float]) -> list[str]:
        snapshot = asking.index.snapshot()
        values = np.zeros(len(snapshot.entries), np.float32)
        rows = [snapshot.row_of[asking.ids[name]] for name in scores]
        values[rows] = list(scores.values())
        spread = diversified(snapshot, np.array(rows), values, 3, WEIGHTS.relevance)
        return [snapshot.entries[row].name for row in spread]

    def test_near_duplicates_by_text_come_later(self, asking: Asking) -> None:
        asking.add("ink2", description="ink wash painting of misty mountains")
        assert asking.embedder is not None
        asking.embed(asking.embedder)

        assert self._spread(asking, {"ink": 0.6, "ink2": 0.59, "neon": 0.5}) == [
            "ink", "neon", "ink2",
        ]  # fmt: skip

    def test_near_duplicates_by_weights_come_later(self, asking: Asking) -> None:
        for name in ("clay", "oil"):
            store_sketch(asking.database, asking.ids[name], random_sketch(1))
        store_sketch(asking.database, asking.ids["neon"], random_sketch(2))

        assert self._spread(asking, {"clay": 0.6, "oil": 0.59, "neon": 0.5}) == [
            "clay", "neon", "oil",
        ]  # fmt: skip

    def test_what_is_much_better_stays_above(self, asking: Asking) -> None:
        for name in ("clay", "oil"):
            store_sketch(asking.database, asking.ids[name], random_sketch(1))

        assert self._spread(asking, {"clay": 1.2, "oil": 1.1, "neon": 0.5})[:2] == ["clay", "oil"]

    def test_the_order_changes_and_the_scores_do_not(self, asking: Asking) -> None:
        plain, spread = (asking.prompt("ink painting", diversify_results=d) for d in (False, True))

        assert {i.lora_id: i.final_score for i in spread.recommendations} == {
            i.lora_id: i.final_score for i in plain.recommendations
        }


class TestBadInput:
    @pytest.mark.parametrize("prompt", ["", "  \n "])
    def test_an_empty_prompt(self, asking: Asking, prompt: str) -> None:
        with pytest.raises(InvalidRequest, match="say what the picture is to show"):
            asking.prompt(prompt)

    def test_a_prompt_of_100_kb(self, asking: Asking) -> None:
        answer = asking.prompt("ink wash mountains, " + "very long " * 10_240)

        assert names(answer)[0] == "ink"

    @pytest.mark.parametrize(
        "prompt",
        [
            "水墨山水画",
            "тушь и горы",
            "جبال الحبر",
            "स्याही पर्वत",
            "수묵화",
            "🎨🖌️",
            "masterpiece, 1girl",
        ],
    )
    def test_other_scripts_and_nothing_special(self, asking: Asking, prompt: str) -> None:
        answer = asking.prompt(prompt)

        assert len(answer.recommendations) in (0, len(LIBRARY))

    def test_chinese_finds_chinese(self, lexical: Asking) -> None:
        lexical.add("shan", description="传统水墨山水风格")

        assert names(lexical.prompt("一幅水墨画")) == ["shan"]

    def test_an_empty_library(self, empty: Asking) -> None:
        answer = empty.prompt("ink")

        assert (answer.recommendations, answer.total_candidates) == ([], 0)
        assert answer.hint == "The library is empty; scan a folder with LoRAs first."

    def test_an_adapter_without_any_text(self, asking: Asking) -> None:
        asking.add("…")
        assert asking.embedder is not None
        asking.embed(asking.embedder)

        assert len(asking.prompt("ink").recommendations) == len(LIBRARY) + 1

    @pytest.mark.parametrize("limit", [0, 51])
    def test_limits(self, asking: Asking, limit: int) -> None:
        with pytest.raises(ValidationError):
            asking.prompt("ink", limit=limit)
