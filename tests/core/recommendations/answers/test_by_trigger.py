from __future__ import annotations

import pytest

from lora_manager_core.errors import InvalidRequest
from tests.core.recommendations.answers.conftest import Asking, item_of, names


@pytest.mark.parametrize(
    ("query", "first", "score"),
    [
        pytest.param("sumi stroke", "ink", 1.0, id="the-very-words"),
        pytest.param("Sumi_Stroke", "ink", 1.0, id="written-otherwise"),
        pytest.param("sumi", "ink", 0.6 + 0.3 * 4 / 11, id="one-of-its-words"),
        pytest.param("my sumi stroke", "ink", 0.6 + 0.3 * 2 / 3, id="more-words"),
        pytest.param("nkey", "monkey", 0.6 * 4 / 6, id="letters"),
        pytest.param("brushi", "brush", None, id="spelt-alike"),
    ],
)
def test_what_is_typed(asking: Asking, query: str, first: str, score: float | None) -> None:
    asking.add("monkey", triggers=["monkey"])

    answer = asking.trigger(query)

    assert names(answer)[0] == first
    item = answer.recommendations[0]
    assert item.final_score == pytest.approx(score if score is not None else item.final_score)
    assert 0 < item.final_score <= 1
    assert [a.name for a in item.addends] == ["trigger"]
    assert (item.explanation or "").startswith("Its trigger “")


def test_words_that_every_prompt_has_are_triggers_here(asking: Asking) -> None:
    asking.add("plain", trained_words=["1girl"])

    assert names(asking.trigger("1girl")) == ["plain"]


def test_the_very_words_come_before_parts(asking: Asking) -> None:
    asking.add("longer", triggers=["sumi stroke deluxe"])

    answer = asking.trigger("sumi stroke")

    assert names(answer)[:2] == ["ink", "longer"]
    assert item_of(answer, "ink").final_score > item_of(answer, "longer").final_score


def test_an_edited_trigger_is_found_at_once(asking: Asking) -> None:
    from tests.fakes.embedded_adapters import edit_adapter

    assert names(asking.trigger("neonpunk")) == ["neon"]
    edit_adapter(asking.database, asking.ids["neon"], triggers=["glowcity"])

    assert names(asking.trigger("glowcity")) == ["neon"]
    assert "neon" not in names(asking.trigger("neonpunk"))


def test_nothing_like_it(asking: Asking) -> None:
    assert asking.trigger("qqqq").recommendations == []


def test_an_empty_query(asking: Asking) -> None:
    with pytest.raises(InvalidRequest, match="is empty"):
        asking.trigger("  ")
