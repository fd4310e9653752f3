"""What is left of the texts of an adapter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_manager_core.embeddings.text import AdapterText, adapter_texts, clean


class TestCleaning:
    @pytest.mark.parametrize(
        ("text", "left"),
        [
            pytest.param(
                "<p>Soft <b>ink</b> lines.</p><p>Grey wash</p>",
                "Soft ink lines, Grey wash",
                id="html",
            ),
            pytest.param("castles &amp; ruins", "castles & ruins", id="entities"),
            pytest.param(
                "Moss, see https://civitai.com/models/1?x=2 and www.x.org/y or me@home.org",
                "Moss, see and or",
                id="addresses",
            ),
            pytest.param("A [fox](https://a.b/c) in snow", "A fox in snow", id="markdown link"),
            pytest.param(
                "Oil on canvas. Recommended weight: 0.6-0.8",
                "Oil on canvas",
                id="recommended weight",
            ),
            pytest.param("use at strength 0.8, neon signs", "neon signs", id="strength"),
            pytest.param("CFG 7, steps 30, wet streets", "wet streets", id="settings"),
            pytest.param(
                "Foggy harbour! If you like it, please leave a review.",
                "Foggy harbour",
                id="review",
            ),
            pytest.param("Thanks for the buzz! Old maps", "Old maps", id="thanks"),
            pytest.param(
                "Trained on 40 images for 3000 steps. Stained glass", "Stained glass", id="training"
            ),
            pytest.param("Trigger words: inkstyle", "inkstyle", id="label"),
            pytest.param("Made for SDXL 1.0, brass gears", "brass gears", id="base model"),
            pytest.param("works with Pony; a clay pony", "a clay pony", id="base model or word"),
            pytest.param("Version 2.1: paper boats v3", "paper boats", id="versions"),
            pytest.param("red_fox_in_snow", "red fox in snow", id="underscores"),
            pytest.param("水墨风格，推荐权重0.8，山水画", "水墨风格, 山水画", id="chinese"),
            pytest.param("水彩の風景。おすすめ 0.7", "水彩の風景", id="japanese"),
            pytest.param("Мягкий акварельный стиль", "Мягкий акварельный стиль", id="russian"),
            pytest.param(
                "a 17th century still life", "a 17th century still life", id="numbers that mean it"
            ),
            pytest.param("", "", id="nothing"),
            pytest.param("v1.0, 0.8", "", id="nothing but versions"),
        ],
    )
    def test_leaves_what_is_seen_in_pictures(self, text: str, left: str) -> None:
        assert clean(text) == left

    @given(st.text(max_size=400))
    def test_never_raises_and_gives_one_line(self, text: str) -> None:
        assert "\n" not in clean(text)

    @pytest.mark.parametrize("piece", ["<", "[", "a.", "weight ", "(", "</b", "_", "&#", "-", "水"])
    def test_half_a_megabyte_of_one_thing_is_done_soon(self, piece: str) -> None:
        assert len(clean(piece * 500_000)) <= 40_000


class TestTexts:
    def test_a_name_is_words(self) -> None:
        assert adapter_texts(AdapterText("ArtNouveau_Pony_v2.0")).text == "Art Nouveau"

    def test_everything_people_wrote_is_in_it_once(self) -> None:
        texts = adapter_texts(
            AdapterText(
                "ink.v2",
                description="Brush strokes.",
                tags=["style", "Style", "sumi_e"],
                trained_words=["inkstyle", "INKSTYLE"],
                notes="for rainy scenes",
                extra={"tag_frequency": {"bamboo": 9, "crane": 3}},
            )
        )

        assert texts.text == (
            "ink. inkstyle. Brush strokes. for rainy scenes. style, sumi e. bamboo, crane"
        )
        assert texts.tags == "style, sumi e"

    def test_tags_come_within_what_a_model_reads(self) -> None:
        words = [f"word{number}" for number in range(500)]
        texts = adapter_texts(AdapterText("ink", description=" ".join(words), tags=["sumi"]))

        assert texts.text.endswith(". sumi")
        assert len(texts.text) < 1000

    def test_the_digest_is_that_of_the_texts(self) -> None:
        first = adapter_texts(AdapterText("fox", tags=["animal"]))

        assert adapter_texts(AdapterText("fox_v3", tags=["animal"])).digest == first.digest
        assert adapter_texts(AdapterText("foxes", tags=["animal"])).digest != first.digest
        assert adapter_texts(AdapterText("fox", tags=["animals"])).digest != first.digest

    def test_a_name_of_a_number_is_no_text(self) -> None:
        assert adapter_texts(AdapterText("sdxl_lora-000010")).text == ""

    @given(
        st.text(max_size=300),
        st.text(max_size=2000),
        st.lists(st.text(max_size=60), max_size=20),
        st.dictionaries(st.sampled_from(["tag_frequency", "version_description"]), st.integers()),
    )
    def test_anything_gives_bounded_texts(
        self, name: str, description: str, words: list[str], extra: dict[str, int]
    ) -> None:
        texts = adapter_texts(
            AdapterText(name, description, words, words, words, name, description, name, extra)
        )

        assert len(texts.text) <= 1500
        assert len(texts.tags) <= 1500
        assert len(texts.digest) == 64
