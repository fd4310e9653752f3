"""Pictures as files: whole or not at all, in the output folder and nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from PIL import Image

from lora_manager_core.backends.base import GeneratedImage
from lora_manager_core.backends.infotext import png_bytes, read_infotext
from lora_manager_core.errors import GenerationFailed, UnsafePath
from lora_manager_core.generation.pictures import PictureFolder

_SMALL = {"prompt": "a fox", "steps": 1, "width": 64, "height": 64, "seed": 5}


def _image(seed: int) -> GeneratedImage:
    text = f"a fox\nSteps: 1, Seed: {seed}"
    return GeneratedImage(png_bytes(Image.new("RGB", (8, 8)), text), text, seed, 8, 8)


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class TestStoring:
    def test_tells_what_it_stored(self, tmp_path):
        folder = PictureFolder(tmp_path)
        first, second = folder.store("job", [_image(1), _image(2)])
        assert (first.seed, first.width, second.infotext) == (1, 8, "a fox\nSteps: 1, Seed: 2")
        assert read_infotext(second.path.read_bytes()) == second.infotext
        assert _files(tmp_path) == ["job-0.png", "job-1.png"]

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "outputs").write_text("a file where the folder should be")
        with pytest.raises(GenerationFailed, match="output folder"):
            PictureFolder(tmp_path / "outputs").store("job", [_image(1)])


class TestAFullDisk:
    def test_leaves_no_picture_of_the_job(self, small_disk):
        # one page of the disk stays for the first picture, none for the second
        (small_disk / "filler").write_bytes(b"x" * (60 * 1024))
        with pytest.raises(GenerationFailed, match="disk is full"):
            PictureFolder(small_disk).store("job", [_image(1), _image(2), _image(3)])
        assert _files(small_disk) == ["filler"]

    def test_fails_the_job_and_the_next_one_works_once_there_is_room(self, make_home, small_disk):
        home = make_home(output_dir=small_disk)
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * (64 * 1024))
        failed = home.client.post("/v1/generation/generate", json=_SMALL)
        assert (failed.status_code, failed.json()["code"]) == (500, "generation_failed")
        assert "Free some space" in failed.json()["detail"]
        assert _files(small_disk) == ["filler"]
        filler.unlink()
        made = home.client.post("/v1/generation/generate", json=_SMALL).json()
        assert read_infotext(base64.b64decode(made["images"][0])) == "a fox\nSteps: 1, Seed: 5"


class TestRemoving:
    def test_leaves_alone_what_lies_elsewhere(self, tmp_path):
        folder = PictureFolder(tmp_path / "outputs")
        ours = folder.store("job", [_image(1)])[0].path
        others = tmp_path / "private.png"
        others.touch()
        sneaky = tmp_path / "outputs" / ".." / "private.png"
        assert folder.remove([others, ours, sneaky]) == [others, sneaky]
        assert others.exists()
        assert not ours.exists()

    def test_reads_nothing_elsewhere(self, tmp_path):
        with pytest.raises(UnsafePath):
            PictureFolder(tmp_path / "outputs").read(str(tmp_path / "private.png"))
