"""What mask folders mean, whatever wrote them; and the box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.errors import UserError
from atlas.masks.box import Box, masks_from_box, parse_box
from atlas.masks.folder import layer_names, open_masks
from atlas.storage.images import write_image
from atlas.video.source import FrameSource, open_source

HEIGHT, WIDTH, FRAMES = 24, 32, 4


@pytest.fixture
def source(tmp_path: Path) -> FrameSource:
    for number in range(FRAMES):
        write_image(tmp_path / "frames" / f"{number:05d}.png", np.full((HEIGHT, WIDTH, 3), 50, np.uint8))
    return open_source(tmp_path / "frames")


def squares(index: int = 0) -> np.ndarray:
    """Two objects: 1 on the left, 2 on the right, moving down."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[4 + index : 12 + index, 4:12] = 1
    image[4 + index : 12 + index, 18:26] = 2
    return image


def write_masks(folder: Path, masks: list[np.ndarray], name: str = "{:05d}.png") -> Path:
    for index, mask in enumerate(masks):
        write_image(folder / name.format(index), mask)
    return folder


def write_palette(folder: Path, masks: list[np.ndarray], colours: list[int], **options: object) -> Path:
    folder.mkdir()
    for index, mask in enumerate(masks):
        image = Image.frombytes("P", (WIDTH, HEIGHT), mask.tobytes())
        image.putpalette(colours + [0] * (768 - len(colours)))
        image.save(folder / f"{index:05d}.png", **options)
    return folder


def read_all(folder: Path, source: FrameSource, index: int = 0) -> list[np.ndarray]:
    return open_masks(folder, source, list(range(FRAMES))).read(index, (WIDTH, HEIGHT))


def test_a_palette_has_an_object_per_value(source: FrameSource, tmp_path: Path) -> None:
    folder = write_palette(tmp_path / "m", [squares(index) for index in range(FRAMES)], [0, 0, 0, 128, 0, 0, 0, 128, 0])
    masks = open_masks(folder, source, list(range(FRAMES)))
    assert masks.objects == 2
    for index in range(FRAMES):
        one, two = masks.read(index, (WIDTH, HEIGHT))
        assert (one == np.where(squares(index) == 1, 255, 0)).all()
        assert (two == np.where(squares(index) == 2, 255, 0)).all()
    assert layer_names(1) == ["foreground"] and layer_names(2) == ["foreground-1", "foreground-2"]


def test_one_palette_object_and_the_undecided_border(source: FrameSource, tmp_path: Path) -> None:
    mask = np.where(squares() == 1, np.uint8(1), np.uint8(0))
    mask[3, 4:12] = 255
    folder = write_palette(tmp_path / "m", [mask] * FRAMES, [0, 0, 0, 128, 0, 0])
    assert open_masks(folder, source, [0, 1]).objects == 1
    assert (read_all(folder, source)[0] == np.where(mask == 1, 255, 0)).all()


def test_a_grey_palette_is_a_grey_image(source: FrameSource, tmp_path: Path) -> None:
    inverted = np.where(squares() == 1, np.uint8(0), np.uint8(1))  # value 0 is white
    folder = write_palette(tmp_path / "m", [inverted] * FRAMES, [255, 255, 255, 0, 0, 0])
    assert (read_all(folder, source)[0] == np.where(squares() == 1, 255, 0)).all()


@pytest.mark.parametrize("value", [1, 128, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_binary_mask(source: FrameSource, tmp_path: Path, value: int, channels: int) -> None:
    mask = (squares() == 1).astype(np.uint8) * value
    image = mask if channels == 1 else np.repeat(mask[:, :, None], 3, axis=2)
    folder = write_masks(tmp_path / "m", [image] * FRAMES)
    (found,) = read_all(folder, source)
    assert (found == np.where(squares() == 1, 255, 0)).all()


def test_small_grey_numbers_and_flat_shades_are_objects(source: FrameSource, tmp_path: Path) -> None:
    for name, scale in (("numbers", 1), ("shades", 90)):
        folder = write_masks(tmp_path / name, [squares() * np.uint8(scale)] * FRAMES)
        one, two = read_all(folder, source)
        assert (one == np.where(squares() == 1, 255, 0)).all() and (two == np.where(squares() == 2, 255, 0)).all()


VOC = [sum((number >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for number in range(256) for channel in range(3)]


def bands(ground: int, left: int, band: int, right: int) -> np.ndarray:
    """Three numbers side by side on another, the second in a band 3 pixels wide."""
    image = np.full((HEIGHT, WIDTH), ground, np.uint8)
    image[4:20, 4:14], image[4:20, 14:17], image[4:20, 17:28] = left, band, right
    return image


@pytest.mark.parametrize("numbers", [(0, 8, 1), (2, 10, 3), (4, 12, 5)])
def test_a_number_is_no_mixture_of_the_colours_beside_it(
    numbers: tuple[int, int, int], source: FrameSource, tmp_path: Path
) -> None:
    image = bands(0, *numbers)
    found = read_all(write_palette(tmp_path / "m", [image] * FRAMES, VOC), source)
    wanted = sorted({*numbers} - {0})
    assert len(found) == len(wanted)
    assert all((mask == np.where(image == number, 255, 0)).all() for mask, number in zip(found, wanted, strict=True))


def test_a_band_of_an_own_palette_is_an_object(source: FrameSource, tmp_path: Path) -> None:
    image = bands(0, 1, 2, 3)
    image[4:20, 14:18] = 2
    found = read_all(
        write_palette(tmp_path / "m", [image] * FRAMES, [0, 0, 0, 236, 95, 103, 249, 145, 87, 250, 200, 99]), source
    )
    assert [int((mask == 255).sum()) for mask in found] == [160, 64, 160]


def test_transparency_does_not_hide_the_numbers(source: FrameSource, tmp_path: Path) -> None:
    image = bands(255, 8, 3, 1)
    image[0] = 0
    found = read_all(write_palette(tmp_path / "m", [image] * FRAMES, VOC, transparency=0), source)
    assert [int((mask == 255).sum()) for mask in found] == [176, 48, 160]  # 1, 3, 8; 255 is undecided


@pytest.mark.parametrize("odd", ["empty", "empty and grey", "of a grey entry"])
def test_a_frame_without_colours_among_numbers(odd: str, source: FrameSource, tmp_path: Path) -> None:
    images = [bands(255, 7, 4, 1) for _ in range(FRAMES)]  # by colour 1 would come before 7, and that before 4
    for image in images:
        image[0] = 0
    images[1][:] = 0
    if odd == "of a grey entry":
        images[1][4:20, 4:14] = 7
    folder = write_palette(tmp_path / "m", images, VOC)
    if odd == "empty and grey":
        write_image(folder / "00001.png", images[1])
    assert [int((mask > 0).sum()) for mask in read_all(folder, source)] == [176, 48, 160]
    assert [int((mask > 0).sum()) for mask in read_all(folder, source, 1)] == [0, 0, 160 if odd == "of a grey entry" else 0]


@pytest.mark.parametrize("numbers", [(1, 2, 40), (120, 121, 255), (1, 20, 40), (1, 2, 3), (1, 1, 1)])
@pytest.mark.parametrize("border", [0, 255])
def test_grey_numbers_that_are_near_each_other(
    numbers: tuple[int, int, int], border: int, source: FrameSource, tmp_path: Path
) -> None:
    image = bands(0, *numbers)
    image[2:4, 4:28] = border if max(numbers) <= 32 else 0  # undecided beside small numbers alone
    image[4:20, 14:18] = numbers[1]
    found = read_all(write_masks(tmp_path / "m", [image] * FRAMES), source)
    wanted = sorted({*numbers})
    assert len(found) == len(wanted)
    assert all((mask == np.where(image == number, 255, 0)).all() for mask, number in zip(found, wanted, strict=True))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_matte_keeps_its_softness(source: FrameSource, tmp_path: Path, depth: type) -> None:
    ramp = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
    top = np.iinfo(depth).max
    folder = write_masks(tmp_path / "m", [(ramp * top).astype(depth)] * FRAMES)
    (found,) = read_all(folder, source)
    assert np.abs(found.astype(float) - ramp * 255)[:, 2:-2].max() < 2


def test_an_alpha_channel_that_is_used_is_the_mask(source: FrameSource, tmp_path: Path) -> None:
    image = np.full((HEIGHT, WIDTH, 4), 200, np.uint8)
    image[:, :, 3] = np.where(squares() == 1, 255, 0)
    (found,) = read_all(write_masks(tmp_path / "m", [image] * FRAMES), source)
    assert (found == image[:, :, 3]).all()


def test_a_folder_for_each_object(source: FrameSource, tmp_path: Path) -> None:
    for value, name in ((1, "cat"), (2, "dog")):
        write_masks(tmp_path / "m" / name, [np.where(squares() == value, np.uint8(255), np.uint8(0))] * FRAMES)
    one, two = read_all(tmp_path / "m", source)
    assert (one == np.where(squares() == 1, 255, 0)).all() and (two == np.where(squares() == 2, 255, 0)).all()


def test_edges_are_averaged_down(source: FrameSource, tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, :15] = 255
    folder = write_masks(tmp_path / "m", [mask] * FRAMES)
    (found,) = open_masks(folder, source, [0, 1]).read(0, (WIDTH // 2, HEIGHT // 2))
    assert set(found[:, 7].tolist()) == {128} and (found[:, :7] == 255).all() and not found[:, 8:].any()


def test_masks_belong_to_the_source_s_frames(source: FrameSource, tmp_path: Path) -> None:
    moving = [np.where(squares(index) == 1, np.uint8(255), np.uint8(0)) for index in range(FRAMES)]
    named = write_masks(tmp_path / "named", moving, "mask_{:d}.png")
    numbered_from_one = tmp_path / "one"
    for index, mask in enumerate(moving):
        write_image(numbered_from_one / f"m{index + 1:03d}.png", mask)
    for folder in (named, numbered_from_one):
        masks = open_masks(folder, source, [2, 3])
        assert (masks.read(0, (WIDTH, HEIGHT))[0] == moving[2]).all()


def test_an_object_may_leave(source: FrameSource, tmp_path: Path) -> None:
    masks = [squares(), np.zeros_like(squares()), np.where(squares() == 2, np.uint8(2), np.uint8(0)), squares()]
    folder = write_masks(tmp_path / "m", masks)
    assert [bool(mask.any()) for mask in read_all(folder, source, 1)] == [False, False]
    assert [bool(mask.any()) for mask in read_all(folder, source, 2)] == [False, True]


def test_bad_masks(source: FrameSource, tmp_path: Path) -> None:
    good = np.where(squares() == 1, np.uint8(255), np.uint8(0))
    every = list(range(FRAMES))
    with pytest.raises(UserError, match="not a folder of masks"):
        open_masks(tmp_path / "none", source, every)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="holds no PNG masks"):
        open_masks(tmp_path / "nothing", source, every)
    with pytest.raises(UserError, match=r"no mask for frame 00002\.png and 00003\.png"):
        open_masks(write_masks(tmp_path / "few", [good] * 2), source, every)
    with pytest.raises(UserError, match=r"00001\.png is 16x12, the source is 32x24"):
        open_masks(write_masks(tmp_path / "small", [good, good[::2, ::2], good, good]), source, every)
    with pytest.raises(UserError, match="all masks are empty"):
        open_masks(write_masks(tmp_path / "empty", [good * 0] * FRAMES), source, every)
    with pytest.raises(UserError, match="all masks are full"):
        open_masks(write_masks(tmp_path / "full", [good * 0 + 255] * FRAMES), source, every)
    one_full = write_masks(tmp_path / "one", [good * 0 + 255, *[good] * 3])
    assert open_masks(one_full, source, every).objects == 1


def test_boxes_are_checked() -> None:
    assert parse_box("auto", 100, 50) is None
    assert parse_box("box:10, 5,20,30", 100, 50) == Box(10, 5, 20, 30)
    for text in ("box:1,2,3", "box:a,b,c,d", "box:"):
        with pytest.raises(UserError, match="not understood"):
            parse_box(text, 100, 50)
    for text in ("box:90,5,20,30", "box:-1,5,20,30", "box:10,30,20,30"):
        with pytest.raises(UserError, match="inside the 100x50 frame"):
            parse_box(text, 100, 50)
    with pytest.raises(UserError, match="too small"):
        parse_box("box:10,5,1,30", 100, 50)
    with pytest.raises(UserError, match="whole frame"):
        parse_box("box:0,0,100,50", 100, 50)


def test_the_object_in_a_box_is_followed() -> None:
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 110, (80, 120, 3), np.uint8)
    thing = rng.integers(170, 250, (24, 24, 3), np.uint8)

    def frame(index: int) -> np.ndarray:
        picture = ground.copy()
        picture[20 + index : 44 + index, 20 + 3 * index : 44 + 3 * index] = thing
        return picture

    found = list(masks_from_box(frame, 5, Box(14, 14, 36, 36), quiet=True))
    for index, mask in enumerate(found):
        truth = np.zeros((80, 120), bool)
        truth[20 + index : 44 + index, 20 + 3 * index : 44 + 3 * index] = True
        assert mask.shape == (80, 120) and mask.dtype == np.uint8
        assert np.count_nonzero((mask > 127) & truth) / np.count_nonzero((mask > 127) | truth) > 0.85
