"""Which clips are restless: where much moves that cannot be followed, and goes its own way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.masks.moving.along import FlowStacks
from atlas.masks.moving.evidence import STEPS, Footage, scored
from atlas.storage.stack import RowStack
from tests.atlas.masks.moving.test_bodies import CAMERA, FOLLOWED, HEIGHT, SIDE, WAVES, WIDTH, seen_flow

FRAMES = 4


def footage_of(flow: np.ndarray, lost: np.ndarray, folder: Path) -> Footage:
    """A clip in which a body is followed, and what is `lost` moves as well but looks different some frames later."""
    back = 2 * np.array([3.0, -1.0]) - flow  # over the ground: the same way back
    clip = Footage(
        RowStack(folder / "images", (FRAMES, HEIGHT, WIDTH, 3), np.uint8),
        FlowStacks(*(RowStack(folder / way, (FRAMES - 1, HEIGHT, WIDTH, 2), np.float16) for way in ("there", "back"))),
        RowStack(folder / "motion", (FRAMES, HEIGHT, WIDTH, 4), np.float16),
        RowStack(folder / "steps", (FRAMES, len(STEPS), 2, 3, 3), np.float64),
    )
    moving, followed = (FOLLOWED | lost).astype(np.float32), FOLLOWED.astype(np.float32)
    for index in range(FRAMES):
        clip.motion[index] = np.dstack([moving, moving, followed, moving])
        clip.steps[index] = np.broadcast_to(CAMERA, (len(STEPS), 2, 3, 3))
    for pair in range(FRAMES - 1):
        clip.flows.forward[pair], clip.flows.backward[pair] = flow, back
    return clip


@pytest.mark.parametrize(("lost", "restless"), [(SIDE, False), (WAVES, True)])
def test_a_side_that_shines_is_no_water(lost: np.ndarray, restless: bool, tmp_path: Path) -> None:
    assert scored(footage_of(seen_flow(), lost, tmp_path), tmp_path).restless == restless


def test_a_river_that_carries_a_thing_is_water(tmp_path: Path) -> None:
    """It goes where the thing goes, but there is far more of it."""
    flow = np.broadcast_to([3.0, -1.0], (HEIGHT, WIDTH, 2)).copy()
    river = np.zeros((HEIGHT, WIDTH), bool)
    river[10:80] = True
    flow[river] += (4, 0)
    assert scored(footage_of(flow, river & ~FOLLOWED, tmp_path), tmp_path).restless
