"""Which name resolves to a file, in a written registry over real files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lora_manager_ext.lora_names import LoraNames


@dataclass(frozen=True)
class Entry:
    name: str
    filename: str


class Registry:
    """Lists files as the host does: the last of one base name wins, unless `order` says else."""

    def __init__(self, root: Path, absolute: bool = True) -> None:
        self.root = root
        self.absolute = absolute
        self.aliases: dict[str, Entry] = {}
        self.listed = 0

    def refresh(self) -> None:
        self.listed += 1
        self.aliases.clear()
        for file in sorted(self.root.rglob("*.safetensors")):
            name = file.stem.replace(".", "_")
            entry = Entry(name, str(file))
            self.aliases[name] = entry
            if self.absolute:
                self.aliases[file.relative_to(self.root).with_suffix("").as_posix()] = entry
            self.aliases.setdefault(file.stem, entry)


MakeFile = Callable[[str], Path]


@pytest.fixture
def make(tmp_path: Path) -> MakeFile:
    def _make(name: str) -> Path:
        file = tmp_path / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
        return file

    return _make


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.fixture
def names(registry: Registry, tmp_path: Path) -> LoraNames:
    return LoraNames(lambda: registry.aliases, lambda: tmp_path, registry.refresh)


def resolve(names: LoraNames, file: Path) -> str | None:
    return names.resolve([file])[file].name


def test_entry_name(make: MakeFile, names: LoraNames, registry: Registry) -> None:
    plain, dotted = make("one"), make("folder/two.v1")
    registry.refresh()
    assert resolve(names, plain) == "one"
    assert resolve(names, dotted) == "two_v1"
    assert registry.listed == 1


def test_unlisted_file_has_the_registry_read_once(
    make: MakeFile, names: LoraNames, registry: Registry
) -> None:
    file = make("new")
    assert resolve(names, file) == "new"
    assert resolve(names, file) == "new"
    assert registry.listed == 1


def test_one_base_name_in_two_folders(make: MakeFile, names: LoraNames, registry: Registry) -> None:
    left, right = make("left/twin"), make("right/twin")
    registry.refresh()
    assert resolve(names, left) == "left/twin"
    assert resolve(names, right) == "right/twin"


def test_hidden_file_without_a_folder(make: MakeFile, names: LoraNames, registry: Registry) -> None:
    """Its only name belongs to anybody; the host loads an absolute path, too."""
    top, below = make("lone"), make("z/lone")
    registry.refresh()
    assert resolve(names, below) == "z/lone"
    assert resolve(names, top) == str(top)


def test_hidden_file_is_not_searched_for_at_each_job(
    make: MakeFile, names: LoraNames, registry: Registry
) -> None:
    top = make("lone")
    make("z/lone")
    for _ in range(3):
        resolve(names, top)
    assert registry.listed == 1


def test_relative_lora_dir(make: MakeFile, tmp_path: Path) -> None:
    registry = Registry(tmp_path, absolute=False)
    names = LoraNames(lambda: registry.aliases, lambda: tmp_path, registry.refresh)
    left, right = make("left/twin"), make("right/twin")
    registry.refresh()
    assert resolve(names, left) == str(left)
    assert resolve(names, right) == str(right)


def test_file_outside_the_lora_folder(
    names: LoraNames, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("elsewhere") / "far.safetensors"
    file.write_bytes(b"")
    assert resolve(names, file) == str(file)
    assert registry.listed == 0


@pytest.mark.parametrize("name", ["a=b", "a>b"])
def test_name_that_no_prompt_can_hold(
    make: MakeFile, names: LoraNames, registry: Registry, name: str
) -> None:
    file = make(name)
    registry.refresh()
    answer = names.resolve([file])[file]
    assert answer.name is None
    assert "Rename" in (answer.problem or "")


def test_missing_file(names: LoraNames, registry: Registry, tmp_path: Path) -> None:
    answer = names.resolve([tmp_path / "gone.safetensors"])[tmp_path / "gone.safetensors"]
    assert answer.name is None
    assert "not there" in (answer.problem or "")


def test_names_of_one_file_have_one_key(
    make: MakeFile, names: LoraNames, registry: Registry
) -> None:
    file = make("folder/two.v1")
    registry.refresh()
    keys = {names.file_of(name) for name in ("two_v1", "two.v1", "folder/two.v1", str(file))}
    assert len(keys) == 1
    assert names.file_of("nobody") == "nobody"


def test_a_file_is_alone_where_no_other_has_its_name(registry: Registry, make: MakeFile) -> None:
    ink, one, two = make("ink.v2"), make("a/same"), make("b/same")
    names = LoraNames(lambda: registry.aliases, lambda: registry.root, registry.refresh)
    assert not names.is_alone(ink)  # the host has not listed it
    registry.refresh()
    assert names.is_alone(ink)
    assert not names.is_alone(one)
    assert not names.is_alone(two)
