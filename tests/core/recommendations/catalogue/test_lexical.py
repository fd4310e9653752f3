from __future__ import annotations

import numpy as np
import pytest

from lora_manager_core.recommendations.catalogue.lexical import LexicalIndex
from lora_manager_core.recommendations.catalogue.tokens import tokens_of, trigger_phrases
from lora_manager_core.recommendations.catalogue.triggers import TriggerIndex

_TEXTS = (
    "ink wash landscape with misty mountains",
    "watercolor portrait, soft ink lines",
    "cyberpunk city at night, neon",
)


@pytest.fixture
def index() -> LexicalIndex:
    made = LexicalIndex()
    for text in _TEXTS:
        made.add(tokens_of(text))
    return made


class TestBm25:
    def test_is_the_formula(self, index: LexicalIndex) -> None:
        lengths = np.array([len(tokens_of(text)) for text in _TEXTS])
        idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
        norm = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())

        expected = idf * 2.2 / (1 + norm) * np.array([1, 1, 0])

        np.testing.assert_allclose(index.bm25(["ink"], 3), expected, rtol=1e-5)

    def test_unknown_words_score_nothing(self, index: LexicalIndex) -> None:
        assert index.bm25(["zeppelin"], 3).tolist() == [0, 0, 0]

    def test_a_retired_document_counts_for_nobody(self, index: LexicalIndex) -> None:
        fresh = LexicalIndex()
        for text in _TEXTS[1:]:
            fresh.add(tokens_of(text))

        index.retire(0)

        np.testing.assert_allclose(index.bm25(["ink"], 3)[1:], fresh.bm25(["ink"], 2))
        assert (index.used, index.alive) == (3, 2)

    def test_an_index_made_anew_says_the_same(self, index: LexicalIndex) -> None:
        index.add(tokens_of("ink and neon and ink"))
        index.retire(1)

        anew = index.without_dead()

        for words in (["ink"], ["neon", "city"], ["portrait"]):
            np.testing.assert_allclose(anew.bm25(words, 3), index.bm25(words, 4)[[0, 2, 3]])
        assert anew.held(["ink", "portrait", "neon"], 2) == ["ink", "neon"]
        anew.retire(0)
        anew.add(["ink"])
        assert np.flatnonzero(anew.bm25(["ink"], 4)).tolist() == [0, 2, 3]
        assert anew.held(["misty"], 0) == ["misty"]  # for whoever looks at the earlier state


class TestSpellings:
    def test_finds_a_word_that_is_nearly_there(self, index: LexicalIndex) -> None:
        scores = index.spellings(["watercolour"], 3)

        assert scores.argmax() == 1
        assert 0.45 <= scores[1] < 1

    def test_tells_which_word_was_meant(self, index: LexicalIndex) -> None:
        assert index.meant(["watercolour", "portrait", "zeppelin", "inc"]) == {
            "watercolour": "watercolor"
        }

    def test_a_word_of_the_vocabulary_is_no_misspelling(self, index: LexicalIndex) -> None:
        assert index.spellings(["mountains"], 3).tolist() == [0, 0, 0]

    def test_a_word_whose_last_document_went_is_unknown(self, index: LexicalIndex) -> None:
        index.add(["watercolour"])
        index.retire(3)

        assert index.spellings(["watercolour"], 4)[1] > 0.45

    def test_is_the_mean_over_the_unknown_words(self, index: LexicalIndex) -> None:
        alone = index.spellings(["watercolour"], 3)[1]

        assert index.spellings(["watercolour", "qqqqqq"], 3)[1] == pytest.approx(alone / 2)


class TestLike:
    def test_a_document_is_wholly_like_itself(self, index: LexicalIndex) -> None:
        scores = index.like(0, 3)

        assert scores[0] == pytest.approx(1, abs=1e-5)
        assert 0 < scores[1] < 0.5
        assert scores[2] == 0


class TestTokens:
    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            pytest.param("Ink_Wash, 2B", ["ink", "wash", "2b"], id="latin"),
            pytest.param("水墨山水", ["水墨", "墨山", "山水"], id="chinese"),
            pytest.param("浮世絵 style", ["浮世", "世絵", "style"], id="japanese-and-latin"),
            pytest.param("墨", ["墨"], id="one-character"),
            pytest.param("Тушь ТУШЬ", ["тушь", "тушь"], id="cyrillic"),
            pytest.param("수묵화 그림", ["수묵화", "그림"], id="korean-has-spaces"),
            pytest.param("...", [], id="nothing"),
        ],
    )
    def test_in_every_script(self, text: str, tokens: list[str]) -> None:
        assert tokens_of(text) == tokens


class TestTriggers:
    def test_only_whole_token_sequences(self) -> None:
        index = TriggerIndex()
        index.add("a", trigger_phrases(["ohwx man"]))
        index.add("b", trigger_phrases(["ohwx"]))

        assert index.found(tokens_of("photo of ohwx man, rain")) == {
            "a": ("ohwx", "man"),
            "b": ("ohwx",),
        }
        assert index.found(tokens_of("ohwx mankind")) == {"b": ("ohwx",)}
        assert index.found(tokens_of("man ohwx1")) == {}

    def test_the_longest_is_told(self) -> None:
        index = TriggerIndex()
        index.add("a", trigger_phrases(["ink", "ink wash"]))

        assert index.found(["ink", "wash"]) == {"a": ("ink", "wash")}

    def test_inside_a_run_of_chinese(self) -> None:
        index = TriggerIndex()
        index.add("a", trigger_phrases(["水墨"]))

        assert set(index.found(tokens_of("一幅水墨画"))) == {"a"}

    def test_what_every_prompt_has_triggers_nothing(self) -> None:
        assert trigger_phrases(["1girl, masterpiece", "solo", "zelda armor"]) == {
            ("zelda", "armor"): "zelda armor"
        }

    def test_a_copy_changes_apart(self) -> None:
        first = TriggerIndex()
        first.add("a", [("ink",)])
        first.add("b", [("ink",)])
        second = first.copy()
        second.remove("a", [("ink",), ("wash",)])
        third = second.copy()
        third.remove("b", [("ink",)])

        assert [set(i.found(["ink"])) for i in (first, second, third)] == [{"a", "b"}, {"b"}, set()]
