"""A confusion matrix as a picture, drawn with Pillow."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lora_engine.scores import Matrix

LONGEST_NAME = 24
"""Characters of a label; the rest becomes an ellipsis."""
MOST_NAMES = 40
"""More labels than this are shown as cells only."""
CELLS = ((12, 64), (25, 40), (MOST_NAMES, 24))
"""Up to so many labels → side of a cell in pixels."""
SMALLEST_CELL = 8
TEXT, PAPER, GRID, FULL = (31, 41, 55), (255, 255, 255), (229, 231, 235), (37, 99, 235)
WIDE_FONTS = (
    *("NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf"),
    *("msyh.ttc", "simsun.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Medium.ttc"),
    *("wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "Arial Unicode.ttf"),
)
"""Fonts with Chinese characters, as systems have them."""

LATIN_END = 0x180
"""The first character behind the Latin letters that Pillow's own font has."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(matrix: Matrix, labels: Sequence[str], path: Path) -> None:
    """Write a PNG: a row a true label, a column a predicted one, darker for a greater share of
    the row. Labels that no font here can write are numbered from 1, as metrics.json lists them.
    """
    font = _font_for(labels)
    names = [_short(label) for label in labels]
    if font is None:
        font, names = ImageFont.load_default(14), [f"{n}" for n in range(1, len(labels) + 1)]
    size = next((side for most, side in CELLS if len(labels) <= most), SMALLEST_CELL)
    shown = names if len(labels) <= MOST_NAMES else []
    margin = 52 + max((round(font.getlength(name)) for name in shown), default=0)
    side = len(labels) * size
    picture = Image.new("RGB", (margin + side + 16, margin + side + 16), PAPER)
    pen = ImageDraw.Draw(picture)
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            _cell(pen, (margin + column * size, margin + row * size, size), count, sum(counts))
    for place, name in enumerate(shown):
        middle = margin + place * size + size // 2
        pen.text((margin - 8, middle), name, TEXT, font, anchor="rm")
        _upright(picture, name, font, (middle, margin - 8))
    caption = ImageFont.load_default(13)
    pen.text((margin, 12), "predicted", TEXT, caption)
    _upright(picture, "true", caption, (16, margin + side))
    picture.save(path, "PNG")


def _cell(pen: ImageDraw.ImageDraw, place: tuple[int, int, int], count: int, of: int) -> None:
    x, y, size = place
    share = count / of if of else 0.0
    colour = tuple(round(p + (f - p) * share) for p, f in zip(PAPER, FULL, strict=True))
    edge = GRID if size > SMALLEST_CELL else colour
    pen.rectangle((x, y, x + size - 1, y + size - 1), colour, outline=edge)
    if count and size >= 24:
        ink = PAPER if share > 0.5 else TEXT
        font = ImageFont.load_default(14 if size > 40 else 9)
        pen.text((x + size // 2, y + size // 2), f"{count}", ink, font, anchor="mm")


def _upright(picture: Image.Image, text: str, font: Font, bottom: tuple[int, int]) -> None:
    """Write upwards from ``bottom``, the middle of the text's left edge."""
    *_, width, height = font.getbbox(text)
    flat = Image.new("L", (round(width) + 2, round(height) + 4), 0)
    ImageDraw.Draw(flat).text((0, 0), text, 255, font)
    turned = flat.rotate(90, expand=True)
    x, y = bottom
    place = (x - turned.width // 2, y - turned.height)
    picture.paste(Image.new("RGB", turned.size, TEXT), place, turned)


def _short(label: str) -> str:
    name = " ".join(label.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _font_for(labels: Sequence[str]) -> Font | None:
    """A font that can write the labels: Pillow's own for Latin letters, else one of the system's;
    None where there is none."""
    if all(ord(character) < LATIN_END for label in labels for character in label):
        return ImageFont.load_default(14)
    for name in WIDE_FONTS:
        try:
            return ImageFont.truetype(name, 14)
        except OSError:
            continue
    return None
