"""Which file of given flow leads from where to where, its size, and its validity."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.flow import dense_flow, flow_validity, write_flow
from atlas.clip.given_flow.steps import open_given_flow, scaled
from atlas.errors import UserError
from atlas.video.source import FrameSource
from tests.atlas.clip.test_flow import shifted

WIDTH, HEIGHT, FRAMES = 8, 6, 4
SIZE = (WIDTH, HEIGHT)


def source(names: list[str] | None = None) -> FrameSource:
    return FrameSource(Path("film.mp4"), WIDTH, HEIGHT, FRAMES, Fraction(24), [Path(name) for name in names or []])


def save(path: Path, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.full((HEIGHT, WIDTH, 2), value, np.float32))


def values(folder: Path, film: FrameSource, indices: list[int]) -> list[tuple[float, float | None]]:
    given = open_given_flow(folder, film, indices, SIZE)
    read = [given(step) for step in range(len(indices) - 1)]
    return [(float(there[0, 0, 0]), None if back is None else float(back[0, 0, 0])) for there, back in read]


STEPS = [(0.0, 10.0), (1.0, 11.0), (2.0, 12.0)]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("forth", "back"), [("forward", "backward"), ("fwd", "bwd"), ("flow_fwd", "flow_bwd")])
def test_two_folders(tmp_path: Path, first: int, forth: str, back: str) -> None:
    """Backward files are named by the frame that they start from, or that they lead to; numbers count from anything."""
    for step, (there, returning) in enumerate(STEPS):
        save(tmp_path / forth / f"frame_{step + 7:04d}.npy", there)
        save(tmp_path / back / f"frame_{step + 7 + first:04d}.npy", returning)
    assert values(tmp_path, source(), [0, 1, 2, 3]) == STEPS
    assert values(tmp_path, source(), [1, 2]) == STEPS[1:2]


def test_files_named_by_two_frames(tmp_path: Path) -> None:
    names = [f"{number:05d}.jpg" for number in (3, 4, 5, 6)]
    for step, (there, returning) in enumerate(STEPS):
        save(tmp_path / f"{names[step]}_{names[step + 1]}.npy", there)
        save(tmp_path / f"{names[step + 1]}_{names[step]}.npy", returning)
    save(tmp_path / "00003_00005.npy", 20)
    assert values(tmp_path, source(names), [0, 1, 2, 3]) == STEPS
    assert values(tmp_path, source(names), [0, 2]) == [(20, None)], (
        "frames may be left out where there is flow between the rest"
    )


def test_forward_alone_and_frames_shown_twice(tmp_path: Path) -> None:
    for step, (there, _) in enumerate(STEPS):
        save(tmp_path / f"{step}.npy", there)
    assert values(tmp_path, source(), [0, 1, 1, 2]) == [(0, None), (0, 0), (1, None)]


def test_some_of_a_source_by_number(tmp_path: Path) -> None:
    save(tmp_path / "forward" / "00002.npy", 2)
    save(tmp_path / "backward" / "00003.npy", 12)
    assert values(tmp_path, source(), [2, 3]) == STEPS[2:]


@pytest.mark.parametrize("turned", [False, True])
def test_two_folders_of_files_named_by_two_frames(tmp_path: Path, turned: bool) -> None:
    """Some name the files of both ways alike: what lies in `backward` leads back."""
    for step, (there, returning) in enumerate(STEPS):
        save(tmp_path / "forward" / f"{step:05d}_{step + 1:05d}.npy", there)
        save(
            tmp_path / "backward" / (f"{step + 1:05d}_{step:05d}.npy" if turned else f"{step:05d}_{step + 1:05d}.npy"),
            returning,
        )
    assert values(tmp_path, source(), [0, 1, 2, 3]) == STEPS


def test_a_file_without_a_number_is_of_no_frame(tmp_path: Path) -> None:
    save(tmp_path / "mean.npy", 20)
    save(tmp_path / "00001.npy", 1)
    assert values(tmp_path, source(), [1, 2]) == [(1, None)]
    with pytest.raises(UserError, match="no flow from frame 0 to 1"):
        open_given_flow(tmp_path, source(), [0, 1], SIZE)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        open_given_flow(tmp_path / "none", source(), [0, 1], SIZE)
    with pytest.raises(UserError, match="holds no flow"):
        open_given_flow(tmp_path, source(), [0, 1], SIZE)
    for step in range(3):
        save(tmp_path / "forward" / f"{step}.npy", step)
    with pytest.raises(UserError, match="no flow from frame 0 to 2"):
        open_given_flow(tmp_path, source(), [0, 2], SIZE)
    save(tmp_path / "backward" / "0.npy", 0)
    with pytest.raises(UserError, match="3 files forward and 1 backward"):
        open_given_flow(tmp_path, source(), [0, 1], SIZE)
    np.save(tmp_path / "forward" / "0.npy", np.zeros((5, 5, 2), np.float32))
    (tmp_path / "backward" / "0.npy").unlink()
    with pytest.raises(UserError, match="0.npy is 5x5, the source 8x6"):
        open_given_flow(tmp_path, source(), [0, 1], SIZE)


def test_scaled() -> None:
    flow = np.tile(np.float32([8, -4]), (40, 60, 1))
    flow[:20, :20] = np.nan
    small = scaled(flow, (30, 10))
    assert small.shape == (10, 30, 2) and np.isnan(small[:5, :10]).all()
    np.testing.assert_allclose(small[:, 10:], np.broadcast_to([4, -1], (10, 20, 2)), rtol=1e-6)
    assert scaled(flow, (60, 40)) is not flow and np.nanmax(scaled(flow * 1e7, (60, 40))) <= 30000


def test_given_flow_is_written_and_held_to_the_same_test(tmp_path: Path) -> None:
    there, back = np.zeros((2, 96, 120, 2), np.float32)
    there[...], back[...] = (-3, -2), (3, 2)
    there[30:40, 30:40] = 9, 0  # wrong
    there[60:70, 60:70] = np.nan
    write_flow(tmp_path / "flow", 3, shifted, given=lambda index: (there, back if index else None), quiet=True)
    flow, valid = (np.load(tmp_path / "flow" / f"{name}.npy") for name in ("forward", "forward_valid"))
    assert np.isfinite(flow).all() and np.abs(flow[1, 64, 64] - [-3, -2]).max() < 0.01, "what is unknown is filled"
    for step in range(2):
        assert not valid[step, 32:38, 32:38].any() and not valid[step, 60:70, 60:70].any()
        assert valid[step, 45:55, 45:55].all() and not valid[step, :, :2].any()
    returned = np.load(tmp_path / "flow" / "backward.npy")
    np.testing.assert_array_equal(returned[0], dense_flow(shifted(1), shifted(0)).astype(np.float16))
    wanted = flow_validity(returned[1], flow[1], shifted(2), shifted(1))
    np.testing.assert_array_equal(np.load(tmp_path / "flow" / "backward_valid.npy")[1], wanted)
