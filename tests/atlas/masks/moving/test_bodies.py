"""What cannot be followed but moves as the followed body does goes along with it; the ground and waves do not."""

from __future__ import annotations

import numpy as np

from atlas.masks.moving.bodies import goes_along

HEIGHT, WIDTH = 90, 120
YS, XS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
CAMERA = np.array([[1.0, 0, 3], [0, 1, -1], [0, 0, 1]])
FOLLOWED = (XS > 20) & (XS < 60) & (YS > 20) & (YS < 70)
SIDE = (XS >= 60) & (XS < 90) & (YS > 20) & (YS < 70)
WAVES = XS >= 90


def seen_flow() -> np.ndarray:
    """The camera pans; a body with a side that shines drives away and shrinks, to its right are waves."""
    flow = np.broadcast_to([3.0, -1.0], (HEIGHT, WIDTH, 2)).copy()
    body = FOLLOWED | SIDE
    shrinking = np.stack([-0.05 * (XS - 50) - 6, -0.05 * (YS - 45) + 1], -1)
    flow[body] = shrinking[body]
    flow[WAVES] += np.random.default_rng(0).uniform(-6, 6, flow.shape)[WAVES]
    return flow + np.random.default_rng(1).normal(0, 0.1, flow.shape)


def test_the_rest_of_the_body_goes_along() -> None:
    along = goes_along(seen_flow(), CAMERA, FOLLOWED)
    assert along[FOLLOWED | SIDE].mean() > 0.99
    assert along[WAVES].mean() < 0.1
    assert along[XS < 20].mean() < 0.01


def test_another_body_s_way_does_not_count() -> None:
    flow = seen_flow()
    flow[SIDE] = (9, 4)
    assert goes_along(flow, CAMERA, FOLLOWED)[SIDE].mean() < 0.01


def test_nothing_goes_along_without_a_body_or_a_background() -> None:
    assert not goes_along(seen_flow(), CAMERA, np.zeros((HEIGHT, WIDTH), bool)).any()
    assert not goes_along(seen_flow(), np.zeros((3, 3)), FOLLOWED).any()
