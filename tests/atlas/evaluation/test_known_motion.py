"""Warp errors of a clip whose motion is known to the pixel, and which flickers by known amounts: every number by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import Clip, Source
from atlas.clip.writer import ClipWriter
from atlas.storage.atomic import atomic_file
from tests.atlas.evaluation.test_change import edited, measured

HEIGHT, WIDTH = 48, 64
PLACES = np.array([[0, 0], [3, 1], [5, 1], [4, 3]])
"""Where the window stands over the texture in each frame, x first: no two steps are alike."""
SOURCE, EDIT = (0, 10, 15, 35), (0, 26, 20, 60)
"""By how many grey levels each frame is too bright."""
CORNER = np.s_[20:28, 30:40]


def squares(levels: tuple[int, ...]) -> float:
    """Mean over the pairs of neighbours of (by how much their brightness differs)^2."""
    return float(np.mean(np.diff(levels) ** 2))


def texture() -> np.ndarray:  # (H, W, 3) uint8, 20 to 90
    noise = np.random.default_rng(0).random((HEIGHT + 8, WIDTH + 8, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return (20 + 70 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def windows(levels: tuple[int, ...], contrast: int) -> list[np.ndarray]:
    """The texture as the window passes over it, each frame too bright by its level."""
    over = contrast * texture()
    return [over[y : y + HEIGHT, x : x + WIDTH] + np.uint8(level) for (x, y), level in zip(PLACES, levels, strict=True)]


@pytest.fixture
def moving(tmp_path: Path) -> Clip:
    """Four frames with their true optical flow: what a window that moves right shows moves left."""
    source = Source(str(tmp_path / "frames"), "", WIDTH, HEIGHT, indices=list(range(4)))
    clip = Clip(tmp_path / "clip", "moving", 4, WIDTH, HEIGHT, 24.0, ["background"], source)
    writer = ClipWriter(clip)
    writer.write_frames(windows(SOURCE, 2))
    (clip.folder / "flow").mkdir()
    steps = -np.diff(PLACES, axis=0)
    write_flow(clip, np.broadcast_to(steps[:, None, None], (3, HEIGHT, WIDTH, 2)))
    return writer.finish()


def write_flow(clip: Clip, forward: np.ndarray, backward: np.ndarray | None = None) -> None:
    for name, flow in (("forward", forward), ("backward", -forward if backward is None else backward)):
        with atomic_file(clip.folder / "flow" / f"{name}.npy") as making, making.open("wb") as stream:
            np.save(stream, flow.astype(np.float16))


def test_flicker_is_all_that_a_warp_error_sees(moving: Clip) -> None:
    """Along the true flow nothing differs but the brightness; along any other the texture does as well."""
    edited(moving, "flicker", windows(EDIT, 1))
    found = measured(moving, "flicker")
    warp, mse = found["warp_error"], found["pixel_mse"]
    assert warp == pytest.approx(  # type: ignore[comparison-overlap]
        {
            "edit": 3 * squares(EDIT) / 255**2,
            "source": 3 * squares(SOURCE) / 255**2,
            "ratio": squares(EDIT) / squares(SOURCE),
        },
        rel=1e-4,
    )
    assert mse == pytest.approx(  # type: ignore[comparison-overlap]
        {"edit": squares(EDIT), "source": squares(SOURCE), "ratio": squares(EDIT) / squares(SOURCE)}, rel=1e-4
    )
    from_first = float(np.mean(np.square(EDIT[1:])))
    expected = 3 * (from_first + squares(EDIT)) / 2 / 255**2
    assert found["long_term_warp_error"]["edit"] == pytest.approx(expected, rel=0.05)  # type: ignore[index] # flow is measured
    assert found["sharpness"]["ratio"] == pytest.approx(0.25, rel=1e-3)  # type: ignore[index] # half the contrast
    differences = [np.abs(one.astype(int) - two) for one, two in zip(windows(EDIT, 1), windows(SOURCE, 2), strict=True)]
    assert found["changed"] == pytest.approx(np.mean(differences) / 255, rel=1e-4)


def test_a_steady_edit_of_a_flickering_clip_is_steadier(moving: Clip) -> None:
    edited(moving, "steady", windows((0, 0, 0, 0), 1))
    found = measured(moving, "steady")["warp_error"]
    assert found["edit"] == pytest.approx(0, abs=1e-8) and found["ratio"] == pytest.approx(0, abs=1e-5)  # type: ignore[index]


def test_what_the_flow_does_not_follow_there_and_back_does_not_count(moving: Clip) -> None:
    """A patch of frame 1 is rubbish, and the flow into it and out of it is not consistent."""
    frames = windows(EDIT, 1)
    frames[1] = frames[1].copy()
    frames[1][CORNER] = 255
    edited(moving, "patch", frames)
    disturbed = measured(moving, "patch")["warp_error"]
    assert disturbed["edit"] > 1.5 * 3 * squares(EDIT) / 255**2  # type: ignore[index]
    forward = np.array(moving.flow("forward"))
    backward = -forward
    backward[0][CORNER] += 4
    forward[1][CORNER] += 4
    write_flow(moving, forward, backward)
    found = measured(Clip.open(moving.folder), "patch")["warp_error"]
    assert found["edit"] == pytest.approx(3 * squares(EDIT) / 255**2, rel=0.02)  # type: ignore[index]
