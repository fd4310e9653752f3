"""Texts are given to threads so that none waits long for another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lora_manager_core.embeddings.single_threads import parts_alike


class TestPartsAlike:
    def test_the_longest_is_alone_where_that_is_quickest(self):
        assert parts_alike([11, 12, 90, 13, 28, 15], 2) == [[2], [4, 5, 3, 1, 0]]

    def test_texts_of_one_length_are_halved(self):
        assert [len(part) for part in parts_alike([10] * 32, 2)] == [16, 16]

    def test_no_thread_is_used_twice_and_no_text_for_nothing(self):
        assert parts_alike([3, 1, 2], 8) == [[0], [2], [1]]

    @given(st.lists(st.integers(1, 2000), min_size=1, max_size=40), st.integers(1, 16))
    def test_every_text_is_in_one_part(self, lengths: list[int], most: int):
        parts = parts_alike(lengths, most)

        assert len(parts) <= most
        assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
        takes = max(len(part) * max(lengths[i] for i in part) for part in parts)
        assert takes <= -(-len(lengths) // most) * max(lengths), "no worse than by count"
