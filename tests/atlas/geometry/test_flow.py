"""Backward warping by optical flow."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from atlas.geometry.flow import along_flow, flow_targets


def test_each_pixel_shows_what_its_flow_leads_to() -> None:
    y, x = np.mgrid[:20, :30].astype(np.float32)
    flow = np.stack([np.where(x < 15, 3, -2), np.full_like(x, 1.5)], -1)
    np.testing.assert_array_equal(flow_targets(flow.astype(np.float16)), np.stack([x, y], -1) + flow)
    expected = np.minimum(x + flow[..., 0], 29) + 100 * np.minimum(y + 1.5, 19)
    np.testing.assert_allclose(along_flow(x + 100 * y, flow), expected, atol=1e-3)


def test_images_keep_their_type_and_channels_and_their_border_is_repeated() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    np.testing.assert_array_equal(along_flow(image, np.zeros((8, 12, 2), np.float32)), image)
    far = along_flow(image, np.full((8, 12, 2), -50, np.float16))
    np.testing.assert_array_equal(far, np.broadcast_to(image[0, 0], image.shape))


def test_preparing_a_clip_loads_no_torch() -> None:
    code = "import sys, atlas.preparation.stage; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
