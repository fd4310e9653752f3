from __future__ import annotations

import pytest

from lora_manager_core.errors import AdapterNotFound, InvalidRequest
from lora_manager_core.recommendations.answers.schemas import SimilarQuery
from tests.core.recommendations.answers.conftest import LIBRARY, Asking, item_of, names
from tests.fakes.embedded_adapters import random_sketch, store_sketch


class TestAnswer:
    def test_the_most_alike_come_first(self, asking: Asking) -> None:
        answer = asking.similar("ink")

        assert names(answer)[0] == "brush"
        assert "ink" not in names(answer)
        assert answer.target_lora_id == asking.ids["ink"]
        assert answer.mode == "semantic"

    def test_addends_sum_to_the_score(self, asking: Asking) -> None:
        for name in asking.ids:
            store_sketch(asking.database, asking.ids[name], random_sketch(len(name)))

        for item in asking.similar("ink").recommendations:
            assert sum(a.value for a in item.addends) == pytest.approx(item.final_score, abs=1e-5)

    def test_the_weights_say_what_counts(self, asking: Asking) -> None:
        store_sketch(asking.database, asking.ids["ink"], random_sketch(1))
        store_sketch(asking.database, asking.ids["neon"], random_sketch(1))
        store_sketch(asking.database, asking.ids["brush"], random_sketch(2))

        by_weights = asking.similar("ink", weight_semantic=0, weight_artistic=0, weight_technical=1)
        assert names(by_weights)[0] == "neon"
        neon = item_of(by_weights, "neon")
        assert neon.technical_similarity == pytest.approx(1, abs=0.01)
        assert [addend.name for addend in neon.addends] == ["weights"]
        assert by_weights.recommendation_config["compared"] == {"weights": 1}

        by_text = asking.similar("ink", weight_semantic=3, weight_artistic=0, weight_technical=1)
        assert names(by_text)[0] == "brush"
        assert by_text.recommendation_config["compared"] == {"text": 0.75, "weights": 0.25}

    def test_a_threshold(self, asking: Asking) -> None:
        every = asking.similar("ink")
        least = item_of(every, "brush").similarity_score - 0.01

        assert names(asking.similar("ink", similarity_threshold=least)) == ["brush"]

    def test_other_base_models_are_left_out(self, asking: Asking) -> None:
        answer = asking.similar("brush")

        assert "oil" not in names(answer)
        assert answer.recommendation_config["left_out"] == {"itself": 1, "other_base_model": 1}

    def test_shared_tags_are_named(self, asking: Asking) -> None:
        explanation = item_of(asking.similar("ink"), "brush").explanation or ""

        assert "both have ink" in explanation


class TestWhatIsLacking:
    def test_no_text_vector(self, asking: Asking) -> None:
        asking.add("steam", description="ink wash painting of steam engines", tags=["Ink"])

        answer = asking.similar("steam")

        assert names(answer)[0] == "ink"
        assert answer.mode == "lexical"
        assert "“steam” has no vector yet" in (answer.hint or "")
        assert item_of(answer, "ink").semantic_similarity is None
        values = {a.name: a.value for a in item_of(answer, "ink").addends}
        # Words and tags count 0.5 and 0.25 of what there is; of two tags one is shared.
        assert values["tags"] == pytest.approx((0.25 / 0.75) * 0.5)

    def test_no_model_at_all(self, lexical: Asking) -> None:
        answer = lexical.similar("ink")

        assert names(answer) == ["brush"]
        assert answer.mode == "lexical"

    def test_weights_that_were_not_looked_at(self, asking: Asking) -> None:
        answer = asking.similar("ink")

        assert "weights" not in answer.recommendation_config["compared"]
        assert "were not compared: they have not been looked at yet." in (answer.hint or "")
        assert all(item.technical_similarity is None for item in answer.recommendations)

    def test_weights_that_cannot_be_compared(self, asking: Asking) -> None:
        store_sketch(asking.database, asking.ids["ink"], None)

        answer = asking.similar("ink")

        assert "The weights of “ink” were not compared: OFT changes" in (answer.hint or "")

    def test_only_the_other_has_no_sketch(self, asking: Asking) -> None:
        store_sketch(asking.database, asking.ids["ink"], random_sketch(1))

        answer = asking.similar("ink")

        assert item_of(answer, "brush").technical_similarity is None
        assert "weights" not in {a.name for a in item_of(answer, "brush").addends}

    def test_an_adapter_of_which_nothing_is_known(self, asking: Asking) -> None:
        asking.add("...")

        answer = asking.similar("...")

        assert answer.recommendations == []
        assert "Nothing is known of “...”" in (answer.hint or "")


class TestBadInput:
    def test_an_unknown_id_is_named(self, asking: Asking) -> None:
        with pytest.raises(AdapterNotFound, match="There is no adapter nobody") as refused:
            asking.service.similar("nobody", SimilarQuery())
        assert refused.value.extra["unknown_ids"] == ["nobody"]

    def test_no_weight_at_all(self, asking: Asking) -> None:
        with pytest.raises(InvalidRequest, match="raise one of them"):
            asking.similar("ink", weight_semantic=0, weight_artistic=0, weight_technical=0)

    def test_alone_in_the_library(self, empty: Asking) -> None:
        empty.add("only")

        answer = empty.similar("only")

        assert answer.recommendations == []
        assert "No adapter is left to recommend (1 itself)" in (answer.hint or "")

    def test_every_adapter_can_be_asked_for(self, asking: Asking) -> None:
        assert all(
            len(asking.similar(name, limit=50).recommendations) < len(LIBRARY)
            for name in asking.ids
        )
