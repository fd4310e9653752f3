"""Previews over HTTP: small copies, clips, the picture inside a file, putting and taking away."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.fakes.lora_files import write_lora

MP4 = b"\0\0\0\x18ftypmp42" + bytes(100)


def picture(kind: str = "PNG", size: tuple[int, int] = (600, 300), **more) -> bytes:
    content = BytesIO()
    Image.new("RGB", size, "red").save(content, kind, **more)
    return content.getvalue()


def opened(answer) -> Image.Image:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp"), answer.text
    return Image.open(BytesIO(answer.content))


@pytest.fixture
def folder(library: Path) -> Path:
    return library / "characters"


def url_of(home, name: str = "alice") -> str:
    return f"/v1/adapters/{home.adapter(name)['id']}/preview"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".safetensors")


class TestSmallCopies:
    def test_are_made_once_and_kept_by_browsers_under_the_address_of_the_record(
        self, folder, make_home
    ):
        moving = [Image.new("RGB", (600, 300), colour) for colour in ("red", "blue")]
        moving[0].save(folder / "alice.gif", save_all=True, append_images=moving[1:])
        home = make_home()
        url = home.adapter("alice")["preview_url"]
        answer = home.client.get(f"{url}&width=256")
        with opened(answer) as small:
            assert (small.size, getattr(small, "n_frames", 1)) == ((256, 128), 1)
            red, green, _ = small.convert("RGB").getpixel((5, 5))
            assert red > 200 > 50 > green
        assert "immutable" in answer.headers["cache-control"]
        made = list((home.application.settings.data_dir / "thumbnails").rglob("*.thumbnail"))
        assert len(made) == 1
        stamp = made[0].stat().st_mtime_ns
        etag = answer.headers["etag"]
        again = home.client.get(f"{url}&width=256", headers={"If-None-Match": etag})
        assert (again.status_code, made[0].stat().st_mtime_ns) == (304, stamp)
        plain = home.client.get(url_of(home), params={"width": 256})
        assert plain.headers["cache-control"] == "private, no-cache"
        assert home.client.get(url_of(home), params={"width": 300}).status_code == 422

    def test_follow_a_replaced_picture(self, folder, make_home):
        (folder / "alice.png").write_bytes(picture())
        home = make_home()
        first = home.adapter("alice")["preview_url"]
        opened(home.client.get(f"{first}&width=512"))
        (folder / "alice.png").write_bytes(picture(size=(100, 400)))
        home.scan()
        second = home.adapter("alice")["preview_url"]
        assert first != second
        assert opened(home.client.get(f"{second}&width=512")).size == (100, 400)

    def test_of_clips_are_the_clips_themselves_with_ranges(self, folder, make_home):
        (folder / "alice.mp4").write_bytes(MP4)
        home = make_home()
        answer = home.client.get(
            url_of(home), params={"width": 256}, headers={"Range": "bytes=4-7"}
        )
        assert (answer.status_code, answer.content) == (206, b"ftyp")
        assert answer.headers["content-type"] == "video/mp4"

    def test_of_what_is_no_picture_are_refused(self, folder, make_home):
        (folder / "alice.png").write_bytes(picture()[:80])
        (folder.parent / "styles" / "Zebra.png").write_bytes(b"no picture")
        home = make_home()
        for name in ("alice", "Zebra"):
            assert home.client.get(url_of(home, name), params={"width": 256}).status_code == 422
        assert home.client.get(url_of(home, "Zebra")).content == b"no picture"

    def test_of_the_picture_inside_the_file(self, library, make_home):
        uri = "data:image/jpeg;base64," + base64.b64encode(picture("JPEG")).decode()
        write_lora(library / "own.safetensors", {"modelspec.thumbnail": uri}, seed=9)
        write_lora(library / "bad.safetensors", {"modelspec.thumbnail": "data:nonsense"}, seed=8)
        home = make_home()
        url = home.adapter("own")["preview_url"]
        assert opened(home.client.get(f"{url}&width=256")).size == (256, 128)
        assert opened(home.client.get(url)).size == (600, 300)
        assert home.client.get(url_of(home, "bad"), params={"width": 256}).status_code == 404
        assert home.client.delete(url_of(home, "own")).status_code == 409


class TestPutting:
    def test_writes_beside_the_model_what_the_content_is(self, folder, home):
        contents = {
            "png": picture(),
            "jpg": picture("JPEG"),
            "webp": picture("WEBP"),
            "mp4": MP4 + bytes(9 * 2**20),  # more than a JSON body may have
            "webm": b"\x1a\x45\xdf\xa3\x01\0webm" + bytes(50),
        }
        for ending, content in contents.items():
            answer = home.client.put(url_of(home), content=content)
            assert answer.status_code == 200, answer.text
            assert files(folder) == [f"alice.preview.{ending}"]
            url = answer.json()["adapter"]["preview_url"]
            assert home.client.get(url).content == content
            (folder / f"alice.preview.{ending}").unlink()

    def test_needs_no_scan_to_be_seen(self, home):
        home.client.put(url_of(home), content=picture())
        assert home.scan()["changed"] == 0

    def test_keeps_the_one_that_was_there(self, folder, make_home):
        (folder / "Alice.preview.PNG").write_bytes(b"old")
        (folder / "alice.jpg").write_bytes(b"other")
        home = make_home()
        for content in (picture("WEBP"), picture("WEBP", size=(5, 5))):
            assert home.client.put(url_of(home), content=content).status_code == 200
        assert files(folder) == [
            "alice.jpg", "alice.preview.old1.PNG", "alice.preview.old1.webp", "alice.preview.webp"
        ]  # fmt: skip
        assert home.client.get(url_of(home)).content == picture("WEBP", size=(5, 5))

    def test_refuses_what_is_no_preview(self, folder, home):
        refused = {
            b"<svg onload='x'/>": 415,
            b"": 415,
            picture()[:100]: 422,
            MP4 + bytes(20 * 2**20): 413,
        }
        for content, status in refused.items():
            assert home.client.put(url_of(home), content=content).status_code == status
        assert files(folder) == []

    def test_never_leaves_the_roots(self, folder, home, tmp_path):
        moved = folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(moved, target_is_directory=True)
        assert home.client.put(url_of(home), content=picture()).status_code == 400
        assert files(moved) == []

    def test_of_an_unknown_adapter_or_a_model_that_is_gone(self, folder, home):
        url = url_of(home)
        (folder / "alice.safetensors").unlink()
        for address in (url, "/v1/adapters/none/preview"):
            assert home.client.put(address, content=picture()).status_code == 404


class TestTakingAway:
    def test_keeps_the_file_under_another_name(self, folder, make_home):
        (folder / "alice.preview.png").write_bytes(picture())
        (folder / "alice.jpg").write_bytes(b"next")
        home = make_home()
        answer = home.client.delete(url_of(home))
        assert home.client.get(answer.json()["adapter"]["preview_url"]).content == b"next"
        assert home.client.delete(url_of(home)).json()["adapter"]["preview_url"] is None
        assert files(folder) == ["alice.preview.old1.jpg", "alice.preview.old1.png"]
        assert home.client.delete(url_of(home)).status_code == 404
