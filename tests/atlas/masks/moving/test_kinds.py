"""Kinds of clips that went wrong once, made small, with known masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from atlas.masks.motion import masks_from_motion
from atlas.masks.moving.compare import background_motion
from tests.atlas.masks.test_motion import overlap, texture

Scene = Callable[[int], tuple[np.ndarray, np.ndarray]]
HEIGHT, WIDTH, FRAMES = 96, 128, 10
GROUND = texture(1, HEIGHT, WIDTH + 60, 20, 190)
FIGURE = texture(2, 96, 80, 90, 255)
WIDE = texture(11, 120, 240, 30, 200)


def found_in(scene: Scene, frames: int = FRAMES) -> list[np.ndarray]:
    return list(masks_from_motion(lambda index: scene(index)[0], frames, quiet=True))


def with_figure(frame: np.ndarray, top: int, left: int, figure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a figure put into it, and the figure's mask."""
    height, width = figure.shape[:2]
    frame, mask = frame.copy(), np.zeros(frame.shape[:2], bool)
    frame[top : top + height, left : left + width] = figure[: len(frame) - top]
    mask[top : top + height, left : left + width] = True
    return frame, mask


def half_of_the_frame(index: int) -> tuple[np.ndarray, np.ndarray]:
    """The camera follows somebody who fills nearly half of the frame and reaches its bottom; the ground passes."""
    return with_figure(GROUND[:, 4 * index : 4 * index + WIDTH], 14 + index % 3, 30, FIGURE[:, :66])


def plain_inside(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A thing with an even patch in it, in a colour that the ground has too."""
    thing = FIGURE[:54, :64].copy()
    thing[14:40, 16:48] = 105
    return with_figure(GROUND[:, :WIDTH], 20, 8 + 4 * index, thing)


def still_at_the_border(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Something moves in a panning view; at the left border something of its colours stands still in the world."""
    world = GROUND.copy()
    world[30:90, 20:56] = FIGURE[:60, 40:76]
    return with_figure(world[:, index : index + WIDTH], 26, 66 + index, FIGURE[:44, :40])


def talking(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Somebody in an upright picture before a camera that stands still: the head moves, the jacket from the middle on."""
    height, width, frames = 144, 96, 20
    jacket, head = texture(3, height, width, 40, 160), texture(4, height, width, 120, 230)
    frame = texture(5, height, width, 60, 200)
    sway = round(4 * np.sin(0.5 * (index - frames // 2))) if index > frames // 2 else 0
    nod = round(3 * np.sin(0.8 * index))
    ys, xs = np.mgrid[:height, :width]
    body = ((xs - 48 - sway) / 36) ** 2 + ((ys - 150) / 76) ** 2 < 1
    face = ((xs - 48 - nod) / 16) ** 2 + ((ys - 52) / 20) ** 2 < 1
    frame[body] = np.roll(jacket, sway, 1)[body]
    frame[face] = np.roll(head, nod, 1)[face]
    return frame, body | face


def walking(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A body moves on evenly; each of its two feet stands for five frames, then steps on. The view pans."""
    frame, mask = WIDE[:, index : index + 160].copy(), np.zeros((120, 160), bool)

    def put(rows: slice, left: int, part: np.ndarray) -> None:
        place = (rows, slice(left - index, left - index + part.shape[1]))
        frame[place], mask[place] = part, True

    put(slice(26, 58), 24 + 2 * index, FIGURE[:32, :56])
    for delay, first in ((0, 30), (4, 52)):
        steps, within = divmod(index + delay, 8)
        put(slice(58, 92), first + 16 * steps + max(0, within - 5) * 16 // 3, FIGURE[10:44, 20 + delay : 28 + delay])
    return frame, mask


def turning(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A thing that turns before a panning view: it grows wider, its door and windows are plain and of the ground's colours."""
    width = 40 + index
    thing = np.full((40, width, 3), (120, 122, 125), np.uint8)
    thing[:14, 6:-6] = (70, 75, 80)
    thing[:3], thing[-5:], thing[:, :3], thing[:, -3:] = (200, 60, 60), (30, 30, 30), (190, 190, 60), (200, 40, 60)
    return with_figure(WIDE[:, index : index + 160], 44, 20 + 2 * index, thing)


def test_feet_that_stand_are_the_object_and_what_is_between_legs_is_not() -> None:
    overlaps = [overlap(mask, walking(index)[1]) for index, mask in enumerate(found_in(walking, 24))]
    assert min(overlaps) > 0.98


def test_what_turns_is_whole() -> None:
    overlaps = [overlap(mask, turning(index)[1]) for index, mask in enumerate(found_in(turning, 20))]
    assert np.mean(overlaps) > 0.97


def test_a_jacket_that_moves_now_and_then_is_the_object_throughout() -> None:
    masks = found_in(talking, 20)
    assert min(overlap(mask, talking(index)[1]) for index, mask in enumerate(masks)) > 0.9


def test_who_fills_half_of_the_frame_is_the_object() -> None:
    masks = found_in(half_of_the_frame)
    assert np.mean([overlap(mask, half_of_the_frame(index)[1]) for index, mask in enumerate(masks)]) > 0.8
    assert max(float(np.mean(mask[:, :20] > 127)) for mask in masks) < 0.1


def test_a_plain_region_inside_is_the_object() -> None:
    masks = found_in(plain_inside)
    inside = [mask[36:58, 26 + 4 * index : 54 + 4 * index] > 127 for index, mask in enumerate(masks)]
    assert min(float(part.mean()) for part in inside) > 0.95


def test_what_stands_still_at_the_border_is_not() -> None:
    masks = found_in(still_at_the_border)
    for index, mask in enumerate(masks):
        assert np.mean(mask[30:90, max(0, 20 - index) : 56 - index] > 127) < 0.1
    assert np.mean([overlap(mask, still_at_the_border(index)[1]) for index, mask in enumerate(masks)]) > 0.75


@pytest.mark.parametrize("share", [0.15, 1.0])
def test_the_motion_of_the_border_is_the_background_s(share: float) -> None:
    """However few points a lawn has beside somebody who fills half of the frame."""
    flow = np.zeros((120, 160, 2), np.float32)
    flow[...] = (6, -2)
    flow[20:, 30:130] = 0
    valid = np.random.default_rng(0).random((120, 160)) < share
    valid[20:, 30:130] = True
    tracked = background_motion(flow, valid)
    assert tracked is not None
    assert tracked[0][:18].max() < 0.1 and tracked[0][30:, 40:120].min() > 4
