"""What the colours of masks mean: the ground, objects, and the shades of their edges, as tools and image editors leave them."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from atlas.errors import UserError
from atlas.masks.given.meaning import Meaning, understood
from atlas.masks.given.pictures import MaskPicture, read_mask_picture
from atlas.metrics.definitions import iou
from atlas.storage.pictures import WantedSize

WIDTH, HEIGHT, FRAMES = 192, 128, 3
SIZE = WantedSize(HEIGHT, WIDTH, "the source is", "")
BLACK, WHITE, RED, GREEN = [0, 0, 0], [255, 255, 255], [200, 0, 0], [0, 200, 0]


@cache
def labels(frame: int, scale: int = 1) -> np.ndarray:
    """An ellipse that moves (1), a triangle and a thin pole (2)."""
    image = Image.new("L", (WIDTH * scale, HEIGHT * scale), 0)
    draw = ImageDraw.Draw(image)
    draw.ellipse([value * scale for value in (20 + 4 * frame, 20, 80 + 4 * frame, 90)], fill=1)
    draw.polygon([(x * scale, y * scale) for x, y in ((110, 100), (150, 30 + frame), (180, 110))], fill=2)
    draw.line([(100 * scale, 5 * scale), (100 * scale, 60 * scale)], fill=2, width=3 * scale)
    return np.asarray(image)


def flat(frame: int, *colours: list[int] | int) -> Image.Image:
    return Image.fromarray(np.array(colours, np.uint8)[labels(frame)])


def smooth(frame: int, *colours: list[int] | int) -> Image.Image:
    """With anti-aliased edges."""
    return Image.fromarray(np.array(colours, np.uint8)[labels(frame, 4)]).resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def palette(frame: int, numbers: list[int], colours: list[list[int]]) -> Image.Image:
    image = Image.frombytes("P", (WIDTH, HEIGHT), np.array(numbers, np.uint8)[labels(frame)].tobytes())
    image.putpalette(sum(colours, []))
    return image


def blurred(frame: int, *colours: list[int] | int) -> Image.Image:
    return smooth(frame, *colours).filter(ImageFilter.GaussianBlur(2))


def cut_out(frame: int, colours: list[list[int]], *, soft: bool) -> Image.Image:
    alpha = smooth(frame, 0, 255, 255) if soft else flat(frame, 0, 255, 255)
    image = flat(frame, *colours)
    image.putalpha(alpha)
    return image


def photo(frame: int) -> Image.Image:
    noise = Image.fromarray(np.random.default_rng(frame).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    noise.putalpha(smooth(frame, 0, 255, 255))
    return noise


Make = Callable[[int], Image.Image]
TWO: dict[str, Make] = {
    "colours": lambda i: flat(i, BLACK, RED, GREEN),
    "colours with soft edges": lambda i: smooth(i, BLACK, RED, GREEN),
    "on white": lambda i: smooth(i, WHITE, RED, [0, 0, 200]),
    "black on white beside red": lambda i: flat(i, WHITE, RED, BLACK),
    "shades with soft edges": lambda i: smooth(i, 0, 100, 200),
    "numbers": lambda i: flat(i, 0, 1, 2),
    "deep numbers": lambda i: Image.fromarray(np.array([0, 24001, 24002], np.uint16)[labels(i)]),
    "quantized": lambda i: smooth(i, BLACK, RED, GREEN).quantize(16),
    "quantized finely": lambda i: smooth(i, BLACK, RED, GREEN).quantize(256),
    "quantized on white": lambda i: smooth(i, WHITE, RED, [0, 0, 200]).quantize(16),
    "dithered web colours": lambda i: smooth(i, BLACK, RED, GREEN).convert("P"),
    "ground is number 2": lambda i: palette(i, [2, 0, 1], [RED, GREEN, BLACK]),
    "ground is number 2 and pink": lambda i: palette(i, [2, 0, 1], [RED, GREEN, [250, 180, 200]]),
    "numbers without a palette": lambda i: palette(i, [0, 1, 2], [BLACK] * 3),
    "transparent ground": lambda i: cut_out(i, [WHITE, RED, GREEN], soft=False),
}
ONE: dict[str, Make] = {
    "one colour": lambda i: flat(i, BLACK, [255, 0, 0], [255, 0, 0]),
    "one colour with soft edges": lambda i: smooth(i, BLACK, [255, 0, 0], [255, 0, 0]),
    "dark blue": lambda i: smooth(i, BLACK, [0, 0, 128], [0, 0, 128]),
    "blurred red": lambda i: blurred(i, BLACK, [255, 0, 0], [255, 0, 0]),
    "green on grey": lambda i: smooth(i, [60] * 3, [60, 250, 60], [60, 250, 60]),
    "grey": lambda i: smooth(i, 0, 255, 255),
    "dark grey": lambda i: smooth(i, 0, 128, 128),
    "blurred": lambda i: blurred(i, 0, 255, 255),
    "quantized grey": lambda i: smooth(i, BLACK, WHITE, WHITE).quantize(8),
    "quantized red": lambda i: smooth(i, BLACK, [255, 0, 0], [255, 0, 0]).quantize(16),
    "one bit": lambda i: flat(i, 0, 255, 255).convert("1"),
    "cut-out of a photograph": photo,
    "black cut-out": lambda i: cut_out(i, [BLACK] * 3, soft=True),
    "grey with alpha": lambda i: cut_out(i, [WHITE] * 3, soft=True).convert("LA"),
}
HARD = {"one colour", "one bit"}


def stored(make: Make, folder: Path, suffix: str = ".png", **options: object) -> list[MaskPicture]:
    pictures = []
    for frame in range(FRAMES):
        path = folder / f"{frame}{suffix}"
        make(frame).save(path, **options)
        pictures.append(read_mask_picture(path, SIZE))
    return pictures


def meant(pictures: list[MaskPicture]) -> tuple[Meaning, list[list[np.ndarray]]]:
    meaning = understood(lambda: pictures, "masks")
    return meaning, [meaning.each(picture) for picture in pictures]


def check_two(pictures: list[MaskPicture], least: float) -> None:
    meaning, found = meant(pictures)
    assert meaning.count == 2 and "2 objects" in meaning.said
    for frame, masks in enumerate(found):
        wanted = [np.where(labels(frame) == number, np.uint8(255), np.uint8(0)) for number in (1, 2)]
        assert max(min(map(iou, order, wanted)) for order in (masks, masks[::-1])) > least  # of quantized colours any order


def check_one(pictures: list[MaskPicture], least: float, *, soft: bool) -> None:
    meaning, found = meant(pictures)
    assert meaning.count == 1
    for frame, (mask,) in enumerate(found):
        assert iou(mask, np.where(labels(frame) > 0, np.uint8(255), np.uint8(0))) > least
        assert mask.max() == 255 and mask.min() == 0 and (len(np.unique(mask)) > 2) == soft


@pytest.mark.parametrize("name", TWO)
def test_an_object_of_each_colour(name: str, tmp_path: Path) -> None:
    check_two(stored(TWO[name], tmp_path), 0.97)


@pytest.mark.parametrize("name", ONE)
def test_one_object_whatever_its_colour(name: str, tmp_path: Path) -> None:
    check_one(stored(ONE[name], tmp_path), 0.93, soft=name not in HARD)


@pytest.mark.parametrize("quality", [95, 30])
def test_what_a_lossy_file_leaves(quality: int, tmp_path: Path) -> None:
    check_one(stored(ONE["grey"], tmp_path, ".jpg", quality=quality), 0.93, soft=True)
    check_one(stored(ONE["one colour with soft edges"], tmp_path, ".jpg", quality=quality), 0.93, soft=True)
    check_two(stored(TWO["colours with soft edges"], tmp_path, ".jpg", quality=quality), 0.93)
    check_two(stored(TWO["shades with soft edges"], tmp_path, ".jpg", quality=quality), 0.93)


def test_opaque_pictures_among_cut_outs(tmp_path: Path) -> None:
    """A frame that the object fills is opaque, and one that a tool saved without alpha has its shape in its colour."""
    full, grey = Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 255)), smooth(2, 0, 255, 255)
    pictures = stored(lambda i: [cut_out(0, [WHITE] * 3, soft=True), full, grey][i], tmp_path)
    meaning, (first, second, third) = meant(pictures)
    assert meaning.said == "the alpha channel is the mask" and (second[0] == 255).all()
    for (mask,), frame in ((first, 0), (third, 2)):
        assert iou(mask, np.where(labels(frame) > 0, np.uint8(255), np.uint8(0))) > 0.95


def test_it_is_said(tmp_path: Path) -> None:
    assert meant(stored(TWO["ground is number 2"], tmp_path))[0].said == "2 objects by their numbers on number 2 (black)"
    assert "on colour 255,255,255" in meant(stored(TWO["on white"], tmp_path))[0].said
    assert meant(stored(ONE["grey"], tmp_path))[0].said == "one object with soft edges on black"


def test_pictures_are_no_masks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pictures of many colours, no masks: give a picture for each frame"):
        meant(stored(lambda i: photo(i).convert("RGB"), tmp_path))


def test_half_of_the_opacity(tmp_path: Path) -> None:
    """Known answers: red from 0 to 255 is opacity, as is grey on a dark ground."""
    for name, ramp in (("red", [[value, 0, 0] for value in range(256)]), ("grey", [[value] * 3 for value in range(256)])):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        image[:100, :100] = 255 if name == "grey" else [255, 0, 0]
        image[110, : WIDTH // 2] = np.array(ramp, np.uint8)[: WIDTH // 2]
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        (tmp_path / f"{name}.png").write_bytes(stream.getvalue())
        picture = read_mask_picture(tmp_path / f"{name}.png", SIZE)
        (mask,) = understood(lambda picture=picture: [picture], name).each(picture)  # type: ignore[misc]
        assert (mask[:100, :100] == 255).all() and (mask[110, 8:90] == np.arange(8, 90)).all()
