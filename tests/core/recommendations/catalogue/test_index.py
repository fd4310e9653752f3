"""The catalogue in memory is right at once after every change, and nobody rebuilds it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sqlalchemy import delete

from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from tests.fakes.embedded_adapters import (
    adapter_row,
    add_adapter,
    add_adapters,
    delete_adapter,
    edit_adapter,
    embed,
    random_sketch,
    store_sketch,
)
from tests.fakes.word_embedder import WordEmbedder


class Known:
    """A catalogue of three embedded adapters, and what it told of stale ones."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.embedder = WordEmbedder()
        self.told = 0
        self.ids = {
            name: add_adapter(
                database,
                name,
                description=text,
                tags=tags,
                triggers=triggers,
                file_path=f"/library/{name}.ckpt",  # has no sketch, and should have none
            )
            for name, text, tags, triggers in (
                ("ink", "misty mountains", ["landscape"], ["sumi stroke"]),
                ("neon", "cyberpunk city", ["night"], []),
                ("oil", "portrait of a lady", [], []),
            )
        }
        embed(database, self.embedder)
        self.index = CatalogueIndex(database, TextTiers(self.embedder), self._tell)

    def _tell(self) -> None:
        self.told += 1

    def best(self, query: str) -> str | None:
        """The adapter whose text is nearest; None if no vector is near at all."""
        snapshot = self.index.snapshot()
        cosines, mask = snapshot.text_cosines(self.embedder.encode([query])[0])
        if not mask.any() or cosines.max() < 0.5:
            return None
        return snapshot.entries[int(cosines.argmax())].name


@pytest.fixture
def known(database: Database) -> Known:
    return Known(database)


class TestSnapshot:
    def test_has_every_adapter_with_its_vectors(self, known: Known) -> None:
        snapshot = known.index.snapshot()

        assert {entry.name for entry in snapshot.entries} == {"ink", "neon", "oil"}
        assert all(snapshot.entries[row].id == i for i, row in snapshot.row_of.items())
        text, has_text = snapshot.text_matrix()
        tags, has_tags = snapshot.tags_matrix()
        assert text.shape == tags.shape == (3, 64)
        np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-3)
        assert has_text.all()
        assert has_tags.sum() == 2
        assert not tags[~has_tags].any()
        assert not known.index.snapshot().text_matrix("another model")[1].any()

    def test_stays_the_same_object_while_nothing_changes(self, known: Known) -> None:
        assert known.index.snapshot() is known.index.snapshot()

    def test_of_an_empty_library(self, database: Database) -> None:
        snapshot = CatalogueIndex(database, TextTiers(WordEmbedder()), lambda: None).snapshot()

        assert snapshot.entries == ()
        assert snapshot.text_cosines(np.zeros((2, 64), np.float32))[0].shape == (0, 2)
        assert snapshot.words.bm25(["ink"]).shape == (0,)
        assert snapshot.sketch_matrix()[0].shape == (0, 1024)


class TestChanges:
    def test_an_added_adapter_is_found_by_words_and_once_embedded_by_vectors(
        self, known: Known
    ) -> None:
        known.index.snapshot()
        new = add_adapter(
            known.database, "clay", description="stop motion puppets", file_path="/c.pt"
        )

        snapshot = known.index.snapshot()
        assert snapshot.words.bm25(["puppets"]).argmax() == snapshot.row_of[new]
        assert not snapshot.text_cosines(np.ones(64, np.float32))[1][snapshot.row_of[new]]
        assert known.told == 1

        embed(known.database, known.embedder, [new])
        assert known.best("stop motion puppets clay") == "clay"
        assert known.told == 1

    def test_an_edited_adapter_loses_its_stale_vector_at_once(self, known: Known) -> None:
        assert known.best("ink, misty mountains") == "ink"
        edit_adapter(known.database, known.ids["ink"], description="rusty robots")

        assert known.best("ink, misty mountains") is None
        snapshot = known.index.snapshot()
        row = snapshot.row_of[known.ids["ink"]]
        assert snapshot.words.bm25(["robots"])[row] > 0
        assert snapshot.words.bm25(["mountains"])[row] == 0

        embed(known.database, known.embedder)
        assert known.best("ink rusty robots") == "ink"

    def test_an_edit_taken_back_finds_the_vector_it_had(self, known: Known) -> None:
        known.index.snapshot()
        for text in ("rusty robots", "misty mountains"):
            edit_adapter(known.database, known.ids["ink"], description=text)
            known.index.snapshot()

        assert known.best("ink, misty mountains") == "ink"

    def test_what_is_no_text_leaves_the_vectors_alone(self, known: Known) -> None:
        known.index.snapshot()
        edit_adapter(known.database, known.ids["ink"], weight=0.25, rating=5)

        snapshot = known.index.snapshot()
        entry = snapshot.entries[snapshot.row_of[known.ids["ink"]]]
        assert (entry.weight, entry.rating) == (0.25, 5)
        assert snapshot.text_matrix()[1].all()

    def test_a_deleted_adapter_is_gone(self, known: Known) -> None:
        known.index.snapshot()
        delete_adapter(known.database, known.ids["ink"])

        snapshot = known.index.snapshot()
        assert set(snapshot.row_of) == {known.ids["neon"], known.ids["oil"]}
        assert [snapshot.entries[row].id for row in snapshot.row_of.values()] == list(
            snapshot.row_of
        )
        assert known.best("ink misty mountains") is None
        assert known.best("neon cyberpunk city") == "neon"
        assert not snapshot.words.triggered(["sumi", "stroke"])

    def test_rows_that_a_restore_put_in_place_of_others_are_read(self, known: Known) -> None:
        moment = "2020-01-01T00:00:00.000000Z"
        edit_adapter(known.database, known.ids["oil"])
        known.index.snapshot()
        # The table emptied and filled again in one unit of work: SQLite gives old row numbers anew.
        rows = [
            adapter_row(name, description=text, updated_at=moment, created_at=moment)
            for name, text in (("one", "steam trains"), ("two", "paper cranes"))
        ]
        rows[0]["id"] = known.ids["oil"]
        with known.database.write() as session:
            session.execute(delete(Adapter))
        add_adapters(known.database, *rows)

        snapshot = known.index.snapshot()
        assert {entry.name for entry in snapshot.entries} == {"one", "two"}
        assert snapshot.row_of.keys() == {row["id"] for row in rows}
        assert snapshot.words.bm25(["trains"]).max() > 0
        assert snapshot.words.bm25(["lady"]).max() == 0
        assert not snapshot.text_matrix()[1].any()

    def test_vectors_that_another_process_wrote_are_used(self, known: Known) -> None:
        edit_adapter(known.database, known.ids["ink"], description="rusty robots")
        known.index.snapshot()
        other = Database(known.database.engine.url.render_as_string(hide_password=False))
        try:
            embed(other, known.embedder)
        finally:
            other.close()

        assert known.best("ink rusty robots") == "ink"

    def test_vectors_of_another_model_are_not_used(self, known: Known) -> None:
        known.index.snapshot()
        embed(known.database, WordEmbedder(key="another"), [known.ids["ink"]])
        edit_adapter(known.database, known.ids["neon"])

        fresh = CatalogueIndex(known.database, TextTiers(known.embedder), lambda: None)
        mask = fresh.snapshot().text_matrix()[1]
        assert mask.sum() == 2
        assert not mask[fresh.snapshot().row_of[known.ids["ink"]]]

    def test_a_snapshot_in_use_stays_as_it_was(self, known: Known) -> None:
        before = known.index.snapshot()
        query = known.embedder.encode(["ink misty mountains"])[0]
        cosines = before.text_cosines(query)[0].copy()
        words = before.words.bm25(["mountains"])
        edit_adapter(known.database, known.ids["ink"], description="robots", triggers=["beep"])
        delete_adapter(known.database, known.ids["neon"])
        add_adapter(known.database, "clay")
        embed(known.database, known.embedder)
        known.index.snapshot()

        assert len(before.entries) == len(before.row_of) == 3
        np.testing.assert_array_equal(before.text_cosines(query)[0], cosines)
        still = before.words.bm25(["mountains"])
        assert np.flatnonzero(still).tolist() == np.flatnonzero(words).tolist()
        assert set(before.words.triggered(["sumi", "stroke"])) == {known.ids["ink"]}

    def test_many_changes_leave_no_trace_of_what_was(self, known: Known) -> None:
        """Slots are given back many times over, and all answers stay right."""
        ids = add_adapters(
            known.database, *(adapter_row(f"n{i}", description=f"word{i}x") for i in range(400))
        )
        known.index.snapshot()
        for turn in range(8):
            with known.database.write() as session:
                for adapter in session.query(Adapter).filter(Adapter.id.in_(ids)):
                    adapter.description = f"turn{turn}word {adapter.name}"
                    adapter.updated_at = f"2030-01-01T00:00:00.00000{turn}Z"
            edit_adapter(known.database, known.ids["oil"])
            embed(known.database, known.embedder, ids)
            known.index.snapshot()

        snapshot = known.index.snapshot()
        assert np.count_nonzero(snapshot.words.bm25(["turn7word"])) == 400
        assert np.count_nonzero(snapshot.words.bm25(["turn6word"])) == 0
        row = snapshot.row_of[ids[123]]
        cosines, mask = snapshot.text_cosines(known.embedder.encode(["n123 turn7word n123"])[0])
        assert mask.all()
        assert cosines.argmax() == row
        assert snapshot.memory_bytes < 3 * 403 * (2 * 64 + 0) * 4


class TestStatic:
    """Vectors that are quick to make are made in memory and never stored."""

    def test_are_computed_for_what_is_new(self, known: Known) -> None:
        static = WordEmbedder(mode="static", key="static")
        known.embedder.unload()
        known.embedder.status = type(known.embedder.status)("loading")
        index = CatalogueIndex(known.database, TextTiers(known.embedder, static), lambda: None)

        assert index.snapshot().embedder is static
        assert index.snapshot().text_matrix()[1].all()
        count = len(static.encoded)
        new = add_adapter(known.database, "clay", description="stop motion puppets")

        snapshot = index.snapshot()
        assert snapshot.text_matrix()[1][snapshot.row_of[new]]
        assert len(static.encoded) == count + 2

        known.embedder.load()
        assert index.snapshot().embedder is known.embedder
        assert index.snapshot().text_matrix()[1].sum() == 3


class TestSketches:
    def test_are_halved_and_made_one_again(self, known: Known) -> None:
        sketch = random_sketch(1)
        store_sketch(known.database, known.ids["ink"], sketch, norm=3.5)

        snapshot = known.index.snapshot()
        row = snapshot.row_of[known.ids["ink"]]
        matrix, mask, norms = snapshot.sketch_matrix()
        half = sketch[:32, :32].ravel()
        np.testing.assert_allclose(matrix[row], half / np.linalg.norm(half), atol=1e-3)
        assert (mask.sum(), norms[row]) == (1, 3.5)
        whole = snapshot.sketch(row)
        assert whole is not None
        np.testing.assert_allclose(whole, sketch, atol=1e-3)

    def test_of_a_file_that_changed_are_not_used(self, known: Known) -> None:
        store_sketch(known.database, known.ids["ink"], random_sketch(1))
        assert known.index.snapshot().sketch_matrix()[1].any()
        edit_adapter(known.database, known.ids["ink"], file_mtime_ns=8)

        snapshot = known.index.snapshot()
        assert not snapshot.sketch_matrix()[1].any()
        assert snapshot.sketch(snapshot.row_of[known.ids["ink"]]) is None

    def test_cosines_are_of_those_that_have_any(self, known: Known) -> None:
        store_sketch(known.database, known.ids["ink"], random_sketch(1))
        store_sketch(known.database, known.ids["neon"], random_sketch(1))
        store_sketch(known.database, known.ids["oil"], None)

        snapshot = known.index.snapshot()
        cosines, mask = snapshot.sketch_cosines(snapshot.row_of[known.ids["ink"]])
        assert cosines[snapshot.row_of[known.ids["neon"]]] == pytest.approx(1, abs=1e-3)
        assert mask.sum() == 2
        assert not snapshot.sketch_cosines(snapshot.row_of[known.ids["oil"]])[1].any()


class TestThreads:
    def test_every_answer_is_of_one_state(self, known: Known) -> None:
        """A writer adds and deletes pairs that have the same description; readers see both."""
        stop, wrong = threading.Event(), list[str]()

        def _read() -> None:
            while not stop.is_set():
                snapshot = known.index.snapshot()
                found = np.count_nonzero(snapshot.words.bm25(["twins"]))
                said = sum(entry.description == "twins" for entry in snapshot.entries)
                cosines, mask = snapshot.text_cosines(np.ones((2, 64), np.float32))
                if found != said or said % 2 or len(cosines) != len(snapshot.entries):
                    wrong.append(f"{found} found, {said} listed, {len(cosines)} {len(mask)}")

        readers = [threading.Thread(target=_read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for turn in range(12):
            rows = [adapter_row(f"{turn}-{i}", description="twins") for i in range(2)]
            ids = add_adapters(known.database, *rows)
            embed(known.database, known.embedder, ids)
            if turn % 3 == 0:
                with known.database.write() as session:
                    session.execute(delete(Adapter).where(Adapter.id.in_(ids)))
                edit_adapter(known.database, known.ids["oil"])
        stop.set()
        for reader in readers:
            reader.join()

        assert not wrong


class TestRebuild:
    def test_reads_everything_anew(self, known: Known) -> None:
        before = known.index.snapshot()

        after = known.index.rebuild()

        assert after is not before
        assert {entry.id for entry in after.entries} == {entry.id for entry in before.entries}
        assert after.text_matrix()[1].all()


class TestState:
    def test_says_whether_it_is_fresh(self, known: Known) -> None:
        assert known.index.state().is_fresh is False
        assert known.index.state().updated_at is None
        known.index.snapshot()
        assert known.index.state().is_fresh is True
        edit_adapter(known.database, known.ids["ink"], description="robots")
        assert known.index.state().is_fresh is False
        known.index.snapshot()
        assert known.index.state().stale == 1
        add_adapter(known.database, "clay")
        known.index.snapshot()
        assert known.index.state().stale == 3  # a text more, and a file without a sketch
