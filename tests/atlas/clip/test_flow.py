"""Dense flow on known shifts, and its validity."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from atlas.clip.flow import dense_flow, flow_validity, textured, write_flow


def texture(seed: int = 0, size: int = 160) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip((smooth - 127.5) * 5 + 127.5, 0, 255).astype(np.uint8)


def shifted(index: int) -> np.ndarray:
    """A view 96 high, 120 wide that moves over the texture by (3, 2) pixels a step."""
    return np.ascontiguousarray(texture()[2 * index + 10 :, 3 * index + 10 :][:96, :120])


def test_a_known_shift_is_found() -> None:
    flow = dense_flow(shifted(0), shifted(1))
    assert flow.shape == (96, 120, 2) and flow.dtype == np.float32
    assert np.abs(flow[12:-12, 12:-12] - [-3, -2]).mean() < 0.15


def test_the_result_does_not_depend_on_the_threads() -> None:
    threads = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 4):
            cv2.setNumThreads(count)
            results.append(dense_flow(shifted(0), shifted(2)))
            assert cv2.getNumThreads() == count
    finally:
        cv2.setNumThreads(threads)
    assert (results[0] == results[1]).all()


def test_the_result_does_not_depend_on_what_was_computed_before() -> None:
    before = dense_flow(shifted(0), shifted(2))
    dense_flow(shifted(0)[:16, :16], shifted(1)[:16, :16])
    np.testing.assert_array_equal(dense_flow(shifted(0), shifted(2)), before)


def test_what_leaves_the_frame_is_not_valid() -> None:
    first, second = shifted(0), shifted(2)
    valid = flow_validity(dense_flow(first, second), dense_flow(second, first), first, second)
    assert valid[:, :5].mean() < 0.02 and valid[:3].mean() < 0.02
    assert valid[10:-8, 12:-8].mean() > 0.95


def test_disagreement_is_not_valid() -> None:
    there = np.zeros((20, 30, 2), np.float32)
    back = np.zeros((20, 30, 2), np.float32)
    back[:, 15:] = 1.5
    assert flow_validity(there, back)[:, :15].all() and not flow_validity(there, back)[:, 15:].any()


def test_untextured_surroundings_are_not_valid() -> None:
    image = shifted(0)
    image[:, 60:] = 128
    flow = dense_flow(image, image)
    valid = flow_validity(flow, flow, image)
    assert valid[:, :50].all() and not valid[:, 85:].any()
    assert textured(image).dtype == np.bool_


def test_flow_of_a_clip_on_disk(tmp_path: Path) -> None:
    write_flow(tmp_path / "flow", 4, shifted, quiet=True)
    forward = np.load(tmp_path / "flow" / "forward.npy", mmap_mode="r")
    backward = np.load(tmp_path / "flow" / "backward.npy", mmap_mode="r")
    assert forward.shape == backward.shape == (3, 96, 120, 2) and forward.dtype == np.float16
    assert np.abs(np.asarray(forward[1, 12:-12, 12:-12], np.float32) - [-3, -2]).mean() < 0.15
    assert np.abs(np.asarray(backward[2, 12:-12, 12:-12], np.float32) - [3, 2]).mean() < 0.15
    for way in ("forward", "backward"):
        valid = np.load(tmp_path / "flow" / f"{way}_valid.npy")
        assert valid.shape == (3, 96, 120) and valid.dtype == np.uint8 and set(np.unique(valid)) == {0, 1}
    names = {path.name: path.read_bytes() for path in (tmp_path / "flow").iterdir()}
    write_flow(tmp_path / "flow", 4, shifted, quiet=True)
    assert names == {path.name: path.read_bytes() for path in (tmp_path / "flow").iterdir()}
