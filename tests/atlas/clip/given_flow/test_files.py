"""Flow files by known values, and those that must be refused."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.given_flow.files import read_flow
from atlas.errors import UserError

SIZE = (6, 4)
FLOW = np.random.default_rng(0).uniform(-40, 40, (4, 6, 2)).astype(np.float32)


def write_flo(path: Path, flow: np.ndarray) -> Path:
    path.write_bytes(b"PIEH" + struct.pack("<ii", flow.shape[1], flow.shape[0]) + flow.astype("<f4").tobytes())
    return path


def write_kitti(path: Path, flow: np.ndarray, valid: np.ndarray) -> Path:
    numbers = np.round(flow * 64 + 32768)
    cv2.imwrite(str(path), np.dstack([valid, numbers[..., 1], numbers[..., 0]]).astype(np.uint16))  # OpenCV's order
    return path


def test_flo(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_flow(write_flo(tmp_path / "a.flo", FLOW), (SIZE,)), FLOW)
    gap = FLOW.copy()
    gap[1, 2] = 1e10, 0
    found = read_flow(write_flo(tmp_path / "b.flo", gap), (SIZE,))
    assert np.isnan(found[1, 2, 0]) and np.isnan(found).sum() == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_in_any_layout(dtype: type, tmp_path: Path) -> None:
    wanted = FLOW.astype(dtype).astype(np.float32)
    for values in (FLOW, FLOW.transpose(2, 0, 1), FLOW.transpose(2, 0, 1)[None], FLOW[None]):
        np.save(tmp_path / "a.npy", np.ascontiguousarray(values, dtype))
        np.testing.assert_array_equal(read_flow(tmp_path / "a.npy", (SIZE,)), wanted)


def test_infinite_and_undefined_numbers_are_unknown(tmp_path: Path) -> None:
    wild = FLOW.copy()
    wild[0, 0] = np.inf, np.nan
    np.save(tmp_path / "a.npy", wild)
    found = read_flow(tmp_path / "a.npy", (SIZE,))
    assert np.isnan(found[0, 0]).all() and np.isfinite(found).sum() == found.size - 2


def test_kitti(tmp_path: Path) -> None:
    valid = np.ones(FLOW.shape[:2])
    valid[3, 5] = 0
    found = read_flow(write_kitti(tmp_path / "a.png", FLOW, valid), (SIZE,))
    assert np.isnan(found[3, 5]).all()
    assert np.nanmax(np.abs(found - FLOW)) <= 0.5 / 64 + 1e-6


def test_what_is_refused(tmp_path: Path) -> None:
    made = {
        name: tmp_path / name for name in ("cut.flo", "other.flo", "huge.flo", "pickle.npy", "shape.npy", "ints.npy", "8.png")
    }
    made["cut.flo"].write_bytes(write_flo(tmp_path / "whole.flo", FLOW).read_bytes()[:-4])
    made["other.flo"].write_bytes(b"RIFF" + bytes(40))
    made["huge.flo"].write_bytes(b"PIEH" + struct.pack("<ii", 2**30, -(2**30)))
    np.save(made["pickle.npy"], np.array([{}], object), allow_pickle=True)
    np.save(made["shape.npy"], np.zeros((4, 6, 3), np.float32))
    np.save(made["ints.npy"], np.zeros((4, 6, 2), np.int32))
    cv2.imwrite(str(made["8.png"]), np.zeros((4, 6, 3), np.uint8))
    for name, words in {
        "cut.flo": "cut off",
        "other.flo": "no .flo file",
        "huge.flo": "the source 6x4: compute",
        "pickle.npy": "np.save",
        "shape.npy": "shape",
        "ints.npy": "int32",
        "8.png": "no 16-bit RGB",
        "none.flo": "is missing",
    }.items():
        with pytest.raises(UserError, match=words) as refused:
            read_flow(tmp_path / name, (SIZE,))
        assert name in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(UserError, match="is 6x4, the source 12x8"):
        read_flow(tmp_path / "whole.flo", ((12, 8),))
    (tmp_path / "folder.flo").mkdir()
    with pytest.raises(UserError, match="no ordinary file"):
        read_flow(tmp_path / "folder.flo", (SIZE,))
