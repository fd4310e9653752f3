"""A sweep over weights and seeds: one job, every picture, and a labelled grid of them."""

from __future__ import annotations

import re
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from lora_manager_core.backends.infotext import read_infotext
from lora_manager_core.errors import BackendUnavailable, GenerationFailed
from lora_manager_core.feed.base import Feed

_PICTURE = {"prompt": "a fox", "steps": 2, "width": 96, "height": 64}


def _sweep(home, names=("alice",), query=None, **body):
    request = {
        "adapter_ids": [home.adapter(name)["id"] for name in names],
        "weights": [0, 0.5, 1.0],
        "seeds": [3, 40],
        "generation_params": _PICTURE,
        **body,
    }
    return home.client.post("/v1/generation/sweep", params=query, json=request)


def _made(home, *args, **body):
    recorder = home.record_feed()
    answer = _sweep(home, *args, **body)
    assert answer.status_code == 201, answer.text
    job = answer.json()["delivery_id"]
    recorder.wait_for_end(job)
    assert recorder.of(job)[-1].data["status"] == "completed", recorder.of(job)[-1]
    return home.client.get(f"/v1/generation/results/{job}").json()["result"]


def _png(home, link):
    answer = home.client.get(link)
    assert answer.status_code == 200, answer.text
    return answer.content


def _image(home, link):
    with Image.open(BytesIO(_png(home, link))) as image:
        return image.convert("RGB")


def _subscribe(home, listener):
    home.application.services.get(Feed).subscribe(listener)


def _kept(home):
    unfinished = home.application.settings.outputs / ".unfinished"
    return sorted(p.name for p in unfinished.rglob("*") if p.is_file())


class TestSweep:
    def test_makes_every_cell_and_the_grid(self, home):
        result = _made(home)
        assert result["kind"] == "generation.sweep"
        assert [request.prompt for request in home.backend.requests[:3]] == [
            "a fox",
            "a fox <lora:alice:0.500>",
            "a fox <lora:alice:1.000>",
        ]
        assert [request.seed for request in home.backend.requests] == [3, 3, 3, 40, 40, 40]
        grid, *cells = result["images"]
        assert [(c["seed"], c["width"], c["height"]) for c in cells] == [
            (seed, 96, 64) for seed in (3, 3, 3, 40, 40, 40)
        ]
        for image in result["images"]:
            assert read_infotext(_png(home, image["image_url"])) == image["infotext"]
        assert cells[4]["infotext"] == "a fox <lora:alice:0.500>\nSteps: 2, Seed: 40"
        assert grid["infotext"] == (
            "a fox\nSteps: 2, Seed: 3, "
            "Sweep LoRAs: alice, Sweep weights: 0; 0.5; 1, Sweep seeds: 3; 40"
        )
        assert (result["image_url"], result["seed"]) == (grid["image_url"], 3)
        assert _kept(home) == []

    def test_draws_a_grid_of_rows_and_columns_with_labels(self, home):
        result = _made(home)
        grid = _image(home, result["image_url"])
        assert grid.size == (result["width"], result["height"])
        left, top = grid.width - 3 * 96, grid.height - 2 * 64
        assert left > 30
        assert top > 10
        for row, red in enumerate((3, 40)):
            for column in range(3):
                corner = (left + column * 96, top + row * 64)
                for x, y in ((0, 0), (95, 63)):
                    assert grid.getpixel((corner[0] + x, corner[1] + y)) == (red, 40, 90)
        heads = [grid.crop((left + n * 96, 0, left + (n + 1) * 96, top)) for n in range(3)]
        sides = [grid.crop((0, top + n * 64, left, top + (n + 1) * 64)) for n in range(2)]
        for label in (*heads, *sides):
            assert len(label.getcolors(10_000)) > 2  # ink on paper, with smooth edges
        assert ImageChops.difference(heads[0], heads[2]).getbbox()
        assert ImageChops.difference(*sides).getbbox()

    def test_keeps_its_labels_readable_over_tiny_pictures(self, home):
        result = _made(home, generation_params={**_PICTURE, "width": 16, "height": 16})
        assert result["width"] > 3 * 40

    def test_of_several_adapters_scales_their_own_weights(self, home):
        zebra = home.adapter("Zebra")["id"]
        home.client.patch(f"/v1/adapters/{zebra}", json={"weight": 0.4})
        _made(home, ("alice", "Zebra"), weights=[0.5], seeds=[1])
        assert home.backend.requests[0].prompt == "a fox <lora:alice:0.500> <lora:Zebra:0.200>"

    def test_without_ids_takes_the_active_set(self, home):
        home.client.post(f"/v1/adapters/{home.adapter('Zebra')['id']}/activate")
        _made(home, adapter_ids=None, weights=[0.3], seeds=[1])
        assert home.backend.requests[0].prompt == "a fox <lora:Zebra:0.300>"

    def test_draws_one_random_seed_for_a_row(self, home):
        _made(home, weights=[0, 1], seeds=[-1, -1])
        seeds = [request.seed for request in home.backend.requests]
        assert seeds[0] == seeds[1] != seeds[2] == seeds[3]
        assert min(seeds) >= 0

    def test_without_seeds_takes_that_of_the_parameters(self, home):
        _made(home, weights=[1], seeds=None, generation_params={**_PICTURE, "seed": 11})
        assert [request.seed for request in home.backend.requests] == [11]

    def test_translates_the_names_of_records(self, home):
        alice = home.adapter("alice")["id"]
        home.client.patch(f"/v1/adapters/{alice}", json={"name": "My Alice"})
        _made(home, ("My Alice",), weights=[1], seeds=[1])
        assert home.backend.requests[0].prompt == "a fox <lora:alice:1.000>"

    def test_can_be_reused_rated_and_deleted_like_any_result(self, home):
        result = _made(home, weights=[1], seeds=[5])
        path = f"/v1/generation/results/{result['id']}"
        assert home.client.get(f"{path}/images/0/thumbnail").status_code == 200
        assert home.client.post(f"{path}/reuse").json()["generation_params"]["seed"] == 5
        assert home.client.delete(path).status_code == 204
        assert not list(home.application.settings.outputs.rglob("*.png"))


class TestAsADelivery:
    def test_is_listed_with_what_was_asked(self, home):
        alice = home.adapter("alice")["id"]
        result = _made(home, weights=[0, 0.5], seeds=[1])
        delivery = home.client.get(f"/v1/deliveries/{result['id']}").json()["delivery"]
        assert (delivery["mode"], delivery["prompt"]) == ("sweep", "a fox")
        asked = {name: delivery["params"][name] for name in ("adapter_ids", "weights", "seeds")}
        assert asked == {"adapter_ids": [alice], "weights": [0, 0.5], "seeds": [1]}
        assert delivery["params"]["generation_params"]["steps"] == 2
        assert delivery["result"]["images"] == [image["image_url"] for image in result["images"]]

    def test_can_be_ordered_as_one(self, home):
        recorder = home.record_feed()
        body = {
            "prompt": "a fox",
            "mode": "sweep",
            "params": {
                "adapter_ids": [home.adapter("alice")["id"]],
                "weights": [0.5],
                "generation_params": {"steps": 1, "width": 64, "height": 64, "seed": 4},
            },
        }
        answer = home.client.post("/v1/deliveries", json=body)
        assert answer.status_code == 201, answer.text
        recorder.wait_for_end(answer.json()["delivery_id"])
        assert home.backend.requests[0].prompt == "a fox <lora:alice:0.500>"
        for params in ({}, {"weights": [1], "generation_params": 1}, {"weights": [1], "x": 1}):
            answer = home.client.post("/v1/deliveries", json={**body, "params": params})
            assert answer.status_code == 422, answer.text

    def test_is_made_once_however_often_it_is_sent(self, home):
        headers = {"Idempotency-Key": "once"}
        body = {
            "adapter_ids": [home.adapter("alice")["id"]],
            "weights": [1.0],
            "generation_params": _PICTURE,
        }
        path = "/v1/generation/sweep"
        first, second = (home.client.post(path, json=body, headers=headers) for _ in range(2))
        assert first.json() == second.json()


class TestProgress:
    def test_runs_once_from_start_to_end_over_all_cells(self, home):
        recorder = home.record_feed()
        job = _sweep(home).json()["delivery_id"]
        recorder.wait_for_end(job)
        events = recorder.of(job)
        types = [event.type for event in events]
        assert (types.count("generation_started"), types.count("generation_complete")) == (1, 1)
        told = [event.data for event in events[1:-1]]
        fractions = [data["progress"] for data in told]
        assert fractions == sorted(fractions)
        assert fractions == pytest.approx([step / 12 for step in range(1, 13)])
        assert [data["current_step"] for data in told] == list(range(1, 13))
        assert {data["total_steps"] for data in told} == {12}
        assert told[2]["message"] == "Picture 2 of 6: weight 0.5, seed 3"
        assert all(data["eta_seconds"] > 0 for data in told)

    def test_shows_among_the_active_jobs(self, home):
        home.backend.gate.clear()
        job = _sweep(home).json()["delivery_id"]
        assert home.backend.started.wait(10)
        [active] = home.client.get("/v1/generation/jobs/active").json()["jobs"]
        assert (active["id"], active["prompt"]) == (job, "a fox")
        home.backend.gate.set()


class TestCancelling:
    def test_stops_inside_a_cell_and_leaves_no_result(self, home):
        recorder = home.record_feed()
        home.backend.gate.clear()
        job = _sweep(home).json()["delivery_id"]
        assert home.backend.started.wait(10)
        assert home.client.post(f"/v1/generation/jobs/{job}/cancel").status_code == 200
        recorder.wait_for_end(job)
        assert recorder.of(job)[-1].data["status"] == "cancelled"
        assert len(home.backend.requests) == 1
        assert home.client.get("/v1/generation/results").json()["total"] == 0


class TestFailing:
    def test_goes_on_where_it_was_after_what_may_pass(self, home):
        recorder = home.record_feed()

        def _lose_connection(event):
            if event.data.get("current_step") == 5:  # the first of the third cell
                home.backend.error = BackendUnavailable("gone")

        def _find_it_again(event):
            if event.data.get("status") == "queued":
                home.backend.error = None

        _subscribe(home, _lose_connection)
        _subscribe(home, _find_it_again)
        job = _sweep(home).json()["delivery_id"]
        recorder.wait_for_end(job)
        assert recorder.of(job)[-1].data["status"] == "completed"
        # three cells, one refusal, and the three that were left
        assert len(home.backend.requests) == 7
        result = home.client.get(f"/v1/generation/results/{job}").json()["result"]
        assert len(result["images"]) == 7
        assert all(re.search(r"Seed: \d", image["infotext"]) for image in result["images"])

    def test_for_good_leaves_nothing(self, home):
        recorder = home.record_feed()

        def _break(event):
            if event.data.get("current_step") == 3:
                home.backend.error = GenerationFailed("it broke")

        _subscribe(home, _break)
        job = _sweep(home).json()["delivery_id"]
        recorder.wait_for_end(job)
        assert recorder.of(job)[-1].data["error_message"] == "it broke"
        assert _kept(home) == []
        assert not list(home.application.settings.outputs.rglob("*.png"))


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"weights": []}, 422),
            ({"weights": [101]}, 422),
            ({"weights": ["1"]}, 422),
            ({"weights": [0] * 101}, 422),
            ({"weights": [0] * 51, "seeds": [1, 2]}, 422),
            ({"seeds": []}, 422),
            ({"seeds": [-2]}, 422),
            ({"seeds": [2**63]}, 422),
            ({"adapter_ids": []}, 422),
            ({"adapter_ids": ["ghost"]}, 404),
            ({"adapter_ids": None}, 400),
            ({"stack_id": "ghost"}, 404),
            ({"generation_params": {}}, 422),
            ({"generation_params": {**_PICTURE, "batch_size": 2}}, 422),
            ({"generation_params": {**_PICTURE, "width": -5}}, 422),
            ({"unknown": 1}, 422),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_is_refused_before_a_job_is_made(self, home, change, status):
        answer = _sweep(home, **change)
        assert answer.status_code == status, answer.text
        assert home.client.get("/v1/generation/jobs/active").json()["jobs"] == []

    def test_like_nan_and_an_unknown_backend(self, home):
        assert _sweep(home, query={"backend": "nope"}).status_code == 422
        content = b'{"weights": [NaN], "generation_params": {"prompt": "x"}}'
        answer = home.client.post(
            "/v1/generation/sweep", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422

    def test_like_two_versions_of_one_name(self, home):
        zebra = home.adapter("Zebra")["id"]
        home.client.patch(f"/v1/adapters/{zebra}", json={"name": "alice", "version": "2"})
        ids = [record["id"] for record in home.adapters() if record["name"] == "alice"]
        assert len(ids) == 2
        assert _sweep(home, names=(), adapter_ids=ids).status_code == 422

    def test_may_ask_for_a_hundred_cells(self, home):
        answer = _sweep(home, weights=[0.1 * n for n in range(50)], seeds=[1, 2])
        assert answer.status_code == 201
        job = answer.json()["delivery_id"]
        home.client.post(f"/v1/generation/jobs/{job}/cancel")
