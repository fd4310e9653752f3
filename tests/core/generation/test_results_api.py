"""Finished pictures over HTTP: list, look, rate, delete, and their files and thumbnails."""

from __future__ import annotations

import struct
import threading
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import func, select, update

from lora_manager_core.backends.infotext import read_infotext
from lora_manager_core.db.models import GenerationRun, Job, JobAttempt, Result, ResultImage

_SMALL = {"prompt": "a fox", "steps": 3, "width": 64, "height": 48, "seed": 5}
_RESULTS = "/v1/generation/results"


def _make(home, **change):
    answer = home.client.post(
        "/v1/generation/generate", params={"return_format": "url"}, json={**_SMALL, **change}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["job_id"]


def _listed(home, **query):
    answer = home.client.get(_RESULTS, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _ids(home, **query):
    return [result["id"] for result in _listed(home, **query)["results"]]


def _file(home, job_id, number=0):
    with home.application.database.read() as session:
        return Path(
            session.scalars(
                select(ResultImage.file_path).where(
                    ResultImage.job_id == job_id, ResultImage.number == number
                )
            ).one()
        )


def _files(home):
    settings = home.application.settings
    folders = (settings.outputs, settings.data_dir / "thumbnails")
    return sorted(p for folder in folders for p in folder.rglob("*") if p.is_file())


def _count(home, table):
    with home.application.database.read() as session:
        return session.scalar(select(func.count()).select_from(table))


class TestList:
    def test_tells_everything_of_each_newest_first(self, home):
        first = _make(home, negative_prompt="blur", cfg_scale=5.5)
        second = _make(home, prompt="two crows", batch_size=2, seed=9)
        listed = _listed(home)
        assert (listed["total"], listed["limit"], listed["offset"]) == (2, 20, 0)
        newest, oldest = listed["results"]
        assert (newest["id"], oldest["id"]) == (second, first)
        image = f"{_RESULTS}/{first}/images/0"
        assert oldest["images"] == [
            {
                "number": 0,
                "image_url": image,
                "thumbnail_url": f"{image}/thumbnail",
                "width": 64,
                "height": 48,
                "seed": 5,
                "infotext": "a fox\nSteps: 3, Seed: 5",
            }
        ]
        info, created, finished = (
            oldest.pop(name) for name in ("generation_info", "created_at", "finished_at")
        )
        assert (info["backend"], info["seeds"]) == ("sdnext", [5])
        assert created <= finished
        del oldest["images"]
        assert oldest == {
            "id": first,
            "job_id": first,
            "kind": "generation",
            "prompt": "a fox",
            "negative_prompt": "blur",
            "status": "completed",
            "image_url": image,
            "thumbnail_url": f"{image}/thumbnail",
            "width": 64,
            "height": 48,
            "steps": 3,
            "cfg_scale": 5.5,
            "seed": 5,
            "rating": None,
            "is_favorite": False,
        }
        assert [image["seed"] for image in newest["images"]] == [9, 10]
        assert home.client.get(f"{_RESULTS}/{first}").json()["result"]["images"][0]["seed"] == 5

    def test_says_the_seed_that_was_really_used(self, home):
        _make(home, seed=-1)
        assert _listed(home)["results"][0]["seed"] == 7

    def test_links_to_the_prefix_that_was_asked(self, home):
        job = _make(home)
        listed = home.client.get("/api/v1/generation/results").json()["results"][0]
        assert listed["image_url"] == f"/api/v1/generation/results/{job}/images/0"
        for link in (listed["image_url"], listed["thumbnail_url"]):
            assert home.client.get(link).status_code == 200

    def test_gives_a_part(self, home):
        jobs = [_make(home) for _ in range(3)][::-1]
        assert _ids(home, limit=2) == jobs[:2]
        assert _ids(home, limit=2, offset=2) == jobs[2:]
        listed = _listed(home, offset=50)
        assert (listed["results"], listed["total"]) == ([], 3)

    def test_filters_by_what_people_think_and_by_prompt(self, home):
        plain, rated, liked = (
            _make(home, prompt=prompt) for prompt in ("a fox", "Zwei KRÄHEN 100%", "a red fox_")
        )
        home.client.patch(f"{_RESULTS}/{rated}", json={"rating": 4})
        home.client.patch(f"{_RESULTS}/{liked}", json={"is_favorite": True, "rating": 2})
        assert _ids(home, favorite=True) == [liked]
        assert _ids(home, favorite=False) == [rated, plain]
        assert _ids(home, min_rating=3) == [rated]
        assert _ids(home, min_rating=1) == [liked, rated]
        assert _ids(home, search="FOX") == [liked, plain]
        assert _ids(home, search="fox red") == [liked]
        assert _ids(home, search='"fox red"') == []
        assert _ids(home, search="krähen") == [rated]
        assert _ids(home, search="%") == [rated]
        assert _ids(home, search="_") == [liked]
        assert _listed(home, search="fox", limit=1)["total"] == 2

    def test_holds_no_failed_and_no_unsaved_jobs(self, home):
        home.client.post("/v1/generation/generate", params={"save_images": False}, json=_SMALL)
        home.backend.error = RuntimeError("broken")
        home.client.post("/v1/generation/generate", json=_SMALL)
        assert _listed(home)["results"] == []

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": 0},
            {"limit": 201},
            {"limit": "many"},
            {"offset": -1},
            {"offset": 10**12},
            {"min_rating": 6},
            {"min_rating": "nan"},
            {"favorite": "perhaps"},
            {"search": "x" * 1001},
        ],
        ids=lambda query: "-".join(query) + "=" + str(*query.values())[:8],
    )
    def test_refuses_what_makes_no_sense(self, home, query):
        answer = home.client.get(_RESULTS, params=query)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation")


class TestRating:
    def test_is_kept_and_taken_back(self, home):
        job = _make(home)
        answer = home.client.patch(f"{_RESULTS}/{job}", json={"rating": 5, "is_favorite": True})
        assert (answer.json()["result"]["rating"], _ids(home, favorite=True)) == (5, [job])
        answer = home.client.patch(f"{_RESULTS}/{job}", json={"rating": None})
        result = answer.json()["result"]
        assert (result["rating"], result["is_favorite"]) == (None, True)

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({}, 400),
            (None, 400),
            ({"is_favorite": None}, 400),
            ({"rating": 0}, 422),
            ({"rating": 6}, 422),
            ({"rating": 4.5}, 422),
            ({"rating": "4"}, 422),
            ({"prompt": "x"}, 422),
        ],
        ids=str,
    )
    def test_is_refused_where_it_makes_no_sense(self, home, body, status):
        job = _make(home)
        assert home.client.patch(f"{_RESULTS}/{job}", json=body).status_code == status
        assert _listed(home)["results"][0]["rating"] is None

    def test_not_even_nan(self, home):
        job = _make(home)
        answer = home.client.patch(
            f"{_RESULTS}/{job}",
            content=b'{"rating": NaN}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 422

    def test_of_the_unknown_is_not_found(self, home):
        answer = home.client.patch(f"{_RESULTS}/ghost", json={"rating": 3})
        assert (answer.status_code, answer.json()["code"]) == (404, "result_not_found")


class TestDelete:
    def test_takes_rows_files_and_job_and_leaves_the_usage(self, home):
        job, other = _make(home, batch_size=2), _make(home)
        jobs, attempts = _count(home, Job), _count(home, JobAttempt)
        for number in (0, 1):
            assert home.client.get(f"{_RESULTS}/{job}/images/{number}/thumbnail").is_success
        assert home.client.delete(f"{_RESULTS}/{job}").status_code == 204
        assert _files(home) == [_file(home, other)]
        assert (_count(home, Job), _count(home, JobAttempt)) == (jobs - 1, attempts - 1)
        assert (_count(home, Result), _count(home, ResultImage)) == (1, 1)
        assert _count(home, GenerationRun) == 2
        for path in ("", "/images/0", "/images/0/thumbnail"):
            assert home.client.get(f"{_RESULTS}/{job}{path}").status_code == 404
        assert home.client.get(f"/v1/generation/jobs/{job}").status_code == 404
        assert home.client.delete(f"{_RESULTS}/{job}").status_code == 404

    def test_a_file_that_is_gone_already_is_no_error(self, home):
        job = _make(home)
        _file(home, job).unlink()
        assert home.client.delete(f"{_RESULTS}/{job}").status_code == 204

    def test_a_file_that_cannot_be_deleted_is_told(self, home):
        job = _make(home)
        path = _file(home, job)
        path.unlink()
        path.mkdir()  # stands for a file that is open on Windows
        answer = home.client.delete(f"{_RESULTS}/{job}")
        assert (answer.status_code, answer.json()) == (200, {"files_left": [str(path)]})
        assert _ids(home) == []

    def test_never_touches_what_lies_beyond_the_output_folder(self, home, tmp_path):
        job = _make(home)
        private = tmp_path / "private.png"
        private.write_bytes(b"private")
        _point_at(home, job, home.application.settings.outputs / ".." / ".." / "private.png")
        answer = home.client.delete(f"{_RESULTS}/{job}")
        assert len(answer.json()["files_left"]) == 1
        assert private.read_bytes() == b"private"

    def test_of_a_job_that_left_no_picture_is_not_found(self, home):
        scan = home.client.post("/v1/library/scan").json()["job_id"]
        assert home.client.delete(f"{_RESULTS}/{scan}").status_code == 404


class TestBulk:
    def _do(self, home, action, ids, **more):
        return home.client.post(f"{_RESULTS}/bulk", json={"action": action, "ids": ids, **more})

    def test_rates_likes_and_deletes_many(self, home):
        jobs = [_make(home) for _ in range(3)]
        assert self._do(home, "favorite", jobs[:2]).json() == {
            "success": True,
            "action": "favorite",
            "processed": 2,
            "ids": jobs[:2],
            "files_left": [],
        }
        assert _ids(home, favorite=True) == jobs[1::-1]
        assert self._do(home, "unfavorite", jobs[:1]).status_code == 200
        assert _ids(home, favorite=True) == jobs[1:2]
        assert self._do(home, "rate", jobs, rating=3).status_code == 200
        assert len(_ids(home, min_rating=3)) == 3
        assert self._do(home, "rate", jobs[:1], rating=None).status_code == 200
        assert len(_ids(home, min_rating=1)) == 2
        assert self._do(home, "delete", [*jobs[1:], jobs[1]]).json()["processed"] == 2
        assert (_ids(home), _files(home)) == (jobs[:1], [_file(home, jobs[0])])

    @pytest.mark.parametrize("action", ["delete", "favorite", "rate"])
    def test_an_unknown_id_fails_all_of_it(self, home, action):
        job = _make(home)
        answer = self._do(home, action, [job, "ghost"], rating=5)
        assert (answer.status_code, answer.json()["unknown_ids"]) == (404, ["ghost"])
        result = _listed(home)["results"][0]
        assert (result["rating"], result["is_favorite"]) == (None, False)
        assert _file(home, job).exists()

    def test_unknown_ids_may_be_passed_over(self, home):
        job = _make(home)
        answer = self._do(home, "delete", ["ghost", job], skip_unknown=True)
        assert (answer.json()["ids"], _ids(home)) == ([job], [])

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"action": "delete", "ids": []}, 422),
            ({"action": "burn", "ids": ["x"]}, 422),
            ({"action": "rate", "ids": ["x"], "rating": 6}, 422),
            ({"action": "rate", "ids": ["x"]}, 400),
            ({"action": "delete"}, 422),
            ({"action": "delete", "ids": "x"}, 422),
        ],
        ids=str,
    )
    def test_refuses_what_makes_no_sense(self, home, body, status):
        assert home.client.post(f"{_RESULTS}/bulk", json=body).status_code == status


def _point_at(home, job, path):
    """Make the stored path of a picture another one, as a tampered database would."""
    with home.application.database.write() as session:
        session.execute(
            update(ResultImage).where(ResultImage.job_id == job).values(file_path=str(path))
        )


class TestImages:
    def _image(self, home, job, **headers):
        return home.client.get(f"{_RESULTS}/{job}/images/0", headers=headers)

    def test_are_sent_whole_for_good(self, home):
        answer = self._image(home, _make(home))
        assert answer.headers["content-type"] == "image/png"
        assert "immutable" in answer.headers["cache-control"]
        assert read_infotext(answer.content) == "a fox\nSteps: 3, Seed: 5"

    def test_are_not_sent_again(self, home):
        job = _make(home)
        etag = self._image(home, job).headers["etag"]
        for named in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = self._image(home, job, **{"If-None-Match": named})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == etag
        assert self._image(home, job, **{"If-None-Match": '"other"'}).status_code == 200

    def test_are_sent_in_parts(self, home):
        job = _make(home)
        whole = self._image(home, job).content
        size = len(whole)
        for asked, part in (
            ("bytes=0-3", whole[:4]),
            ("bytes=8-", whole[8:]),
            ("bytes=-5", whole[-5:]),
        ):
            answer = self._image(home, job, Range=asked)
            assert (answer.status_code, answer.content) == (206, part)
            assert answer.headers["content-range"].endswith(f"/{size}")
        stale = self._image(home, job, Range="bytes=0-3", **{"If-Range": '"other"'})
        assert (stale.status_code, stale.content) == (200, whole)

    @pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=9-1", "lines=1-2", "bytes=x"])
    def test_a_range_that_is_none_is_refused_in_our_shape(self, home, asked):
        job = _make(home)
        size = len(self._image(home, job).content)
        answer = self._image(home, job, Range=asked)
        assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["content-range"] == f"bytes */{size}"

    def test_beyond_the_output_folder_are_not_shown(self, home, tmp_path):
        job = _make(home)
        (tmp_path / "private.png").write_bytes(_file(home, job).read_bytes())
        for path in (
            tmp_path / "private.png",
            home.application.settings.outputs / ".." / ".." / "private.png",
            "/etc/passwd",
        ):
            _point_at(home, job, path)
            for link in ("", "/thumbnail"):
                answer = home.client.get(f"{_RESULTS}/{job}/images/0{link}")
                assert (answer.status_code, answer.json()["code"]) == (400, "path_outside_roots")

    def test_that_are_not_there_are_not_found(self, home):
        job = _make(home)
        for path in (f"{job}/images/1", "ghost/images/0", f"{job}/images/1/thumbnail"):
            answer = home.client.get(f"{_RESULTS}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "result_not_found")
        for number in ("-1", "x", "9" * 30):
            assert home.client.get(f"{_RESULTS}/{job}/images/{number}").status_code == 422
        _file(home, job).unlink()
        assert self._image(home, job).status_code == 404


def _huge_png(side):
    """A PNG that says it has `side` x `side` pixels, in a few bytes."""

    def _chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (side // 8 + 1) * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(*part) for part in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


class TestThumbnails:
    def _thumbnail(self, home, job, **query):
        return home.client.get(f"{_RESULTS}/{job}/images/0/thumbnail", params=query)

    @pytest.mark.parametrize(
        ("query", "size"),
        [({}, (256, 128)), ({"size": 64}, (64, 32)), ({"size": 1024}, (512, 256))],
    )
    def test_are_small_and_for_good(self, home, query, size):
        answer = self._thumbnail(home, _make(home, width=512, height=256), **query)
        assert answer.headers["content-type"] == "image/webp"
        assert "immutable" in answer.headers["cache-control"]
        with Image.open(BytesIO(answer.content)) as image:
            assert (image.format, image.size) == ("WEBP", size)

    def test_are_made_once(self, home):
        job = _make(home)
        first = self._thumbnail(home, job)
        _file(home, job).write_bytes(b"another picture")
        again = self._thumbnail(home, job)
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])

    def test_are_whole_for_everybody_who_asks_at_once(self, home):
        job = _make(home, width=1024, height=1024)
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(self._thumbnail(home, job)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert len(answers) == 8

    @pytest.mark.parametrize("size", [0, -64, 65, 63, 2048, "x"])
    def test_come_in_sizes_of_a_kind(self, home, size):
        assert self._thumbnail(home, _make(home), size=size).status_code == 422

    @pytest.mark.parametrize(
        "content", [b"no picture", _huge_png(60_000)], ids=["no-picture", "bomb"]
    )
    def test_of_what_cannot_be_read_safely_are_refused(self, home, content):
        job = _make(home)
        _file(home, job).write_bytes(content)
        answer = self._thumbnail(home, job)
        assert (answer.status_code, answer.json()["code"]) == (422, "unprocessable")

    def test_that_cannot_be_stored_are_told_so(self, home):
        job = _make(home)
        folder = home.application.settings.data_dir / "thumbnails"
        folder.write_text("a file where the folder should be")
        answer = self._thumbnail(home, job)
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
