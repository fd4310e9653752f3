"""The labelled grid of a sweep: its pictures side by side, as one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lora_manager_core.errors import GenerationFailed

#: Bounds of the pictures' part of the grid; beyond them they are shown smaller.
_MOST_PIXELS = 24_000_000
_LONGEST_SIDE = 12_000
_PAPER, _INK = "white", "black"
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class GridLayout:
    """Where things stand: sides of a cell and its picture, margins for the labels, in pixels."""

    picture: tuple[int, int]
    cell: tuple[int, int]
    margin: tuple[int, int]

    def size(self, columns: int, rows: int) -> tuple[int, int]:
        """Width and height of the whole."""
        (width, height), (left, top) = self.cell, self.margin
        return left + columns * width, top + rows * height

    def corner(self, column: int, row: int) -> tuple[int, int]:
        """The upper left corner of a cell."""
        (width, height), (left, top) = self.cell, self.margin
        return left + column * width, top + row * height


def draw_grid(pictures: Sequence[Path], columns: Sequence[str], rows: Sequence[str]) -> Image.Image:
    """The pictures, row by row, with labels above the columns and before the rows.

    Raises:
        GenerationFailed: a picture cannot be read.
    """
    try:
        with Image.open(pictures[0], formats=("PNG",)) as first:
            sides = first.size
        shown = _shown_size(sides, len(columns), len(rows))
        font = ImageFont.load_default(size=min(48, max(14, shown[1] // 12)))
        layout = _layout(shown, columns, rows, font)
        grid = Image.new("RGB", layout.size(len(columns), len(rows)), _PAPER)
        for number, path in enumerate(pictures):
            row, column = divmod(number, len(columns))
            with Image.open(path, formats=("PNG",)) as image:
                picture = image.convert("RGB")
            if picture.size != layout.picture:
                picture = picture.resize(layout.picture, Image.Resampling.LANCZOS)
            grid.paste(picture, layout.corner(column, row))
    except _UNREADABLE as error:
        raise GenerationFailed(
            f"A picture of the sweep cannot be read ({type(error).__name__}); start it again."
        ) from error
    _write_labels(ImageDraw.Draw(grid), layout, columns, rows, font)
    return grid


def _shown_size(sides: tuple[int, int], columns: int, rows: int) -> tuple[int, int]:
    width, height = sides
    scale = min(
        1.0,
        math.sqrt(_MOST_PIXELS / (width * height * columns * rows)),
        _LONGEST_SIDE / (width * columns),
        _LONGEST_SIDE / (height * rows),
    )
    return max(1, int(width * scale)), max(1, int(height * scale))


def _layout(
    picture: tuple[int, int],
    columns: Sequence[str],
    rows: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> GridLayout:
    """Cells are at least as wide as their labels, so that those stay readable."""
    line, gap = _extent("Ag", font)[1], 8
    widest_column = max(_extent(label, font)[0] for label in columns)
    widest_row = max(_extent(label, font)[0] for label in rows)
    return GridLayout(
        picture,
        (max(picture[0], widest_column + gap), max(picture[1], line + gap)),
        (widest_row + 2 * gap, line + 2 * gap),
    )


def _write_labels(
    draw: ImageDraw.ImageDraw,
    layout: GridLayout,
    columns: Sequence[str],
    rows: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left, top = layout.margin
    for number, label in enumerate(columns):
        x = layout.corner(number, 0)[0] + layout.picture[0] // 2
        x = max(x, layout.corner(number, 0)[0] + math.ceil(_extent(label, font)[0] / 2))
        draw.text((x, top // 2), label, fill=_INK, font=font, anchor="mm")
    for number, label in enumerate(rows):
        y = layout.corner(0, number)[1] + layout.picture[1] // 2
        y = max(y, layout.corner(0, number)[1] + _extent(label, font)[1] // 2)
        draw.text((left // 2, y), label, fill=_INK, font=font, anchor="mm")


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a stored picture."""
    with Image.open(path, formats=("PNG",)) as image:
        return image.size


def _extent(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> tuple[int, int]:
    left, top, right, bottom = font.getbbox(text)
    return math.ceil(right - left), math.ceil(bottom - top)
