"""OpenPose's files: what is read of them, in what units, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.errors import UserError
from edit.controls.poses import Poses, read_people
from tests.edit.controls.bodies import BODY, TO_25, numbers, write_pose

WIDTH, HEIGHT = 320, 240
THERE = BODY + [150, 100]


def test_both_bodies_are_read_alike(tmp_path: Path) -> None:
    body_25 = np.full((25, 2), 7.0)
    body_25[TO_25] = THERE
    plain = read_people(write_pose(tmp_path / "18.json", THERE), WIDTH, HEIGHT)
    assert plain.shape == (1, 18, 2) and np.allclose(plain[0], THERE)
    assert np.array_equal(read_people(write_pose(tmp_path / "25.json", body_25), WIDTH, HEIGHT), plain)


def test_units(tmp_path: Path) -> None:
    """Pixels, shares of the frame, a canvas of another size, the list that some tools write: the same people."""
    content = {"people": [{"pose_keypoints_2d": numbers(THERE / [WIDTH, HEIGHT])}]}
    (tmp_path / "list.json").write_text(json.dumps([content]))
    canvas = {"canvas_width": 1024, "canvas_height": 512}
    for path in (
        write_pose(tmp_path / "share.json", THERE / [WIDTH, HEIGHT]),
        write_pose(tmp_path / "canvas.json", THERE * [1024 / WIDTH, 512 / HEIGHT], **canvas),
        write_pose(tmp_path / "share-of-canvas.json", THERE / [WIDTH, HEIGHT], **canvas),
        tmp_path / "list.json",
    ):
        assert np.allclose(read_people(path, WIDTH, HEIGHT), THERE)
    leaving = THERE + [180, 0]  # partly outside of the frame
    assert np.allclose(read_people(write_pose(tmp_path / "out.json", leaving / [WIDTH, HEIGHT]), WIDTH, HEIGHT), leaving)


def test_what_is_missing(tmp_path: Path) -> None:
    holed = THERE.copy()
    holed[4] = np.nan
    unsure = {"pose_keypoints_2d": numbers(THERE, 0.09)}
    hands = {"pose_keypoints_2d": [], "hand_left_keypoints_2d": [1, 2, 1]}
    content = {"people": [unsure, {"pose_keypoints_2d": numbers(holed, 0.1)}, hands, {"pose_keypoints_2d": None}]}
    (tmp_path / "0.json").write_text(json.dumps(content))
    found = read_people(tmp_path / "0.json", WIDTH, HEIGHT)
    assert found.shape == (1, 18, 2) and np.isnan(found[0, 4]).all() and np.isnan(found).sum() == 2
    assert read_people(write_pose(tmp_path / "1.json"), WIDTH, HEIGHT).shape == (0, 18, 2)


def trembling(folder: Path, frames: int = 20, without: tuple[int, ...] = ()) -> np.ndarray:  # (frames, 18, 2)
    """Somebody who walks, in files of OpenPose's names; returns the points without their trembling."""
    rng = np.random.default_rng(0)
    truth = THERE + np.stack([2.0 * np.arange(frames), np.zeros(frames)], -1)[:, None]
    for frame in range(frames):
        people = [] if frame in without else [truth[frame] + rng.normal(size=(18, 2))]
        write_pose(folder / f"walk_{frame:012d}_keypoints.json", *people)
    return truth


def test_poses_of_a_clip_are_smoothed(tmp_path: Path) -> None:
    truth = trembling(tmp_path)
    raw, calm = Poses(tmp_path, WIDTH, HEIGHT, 0), Poses(tmp_path, WIDTH, HEIGHT, 7)
    calm.check(range(20))
    errors = [np.std([poses.at(frame)[0] - truth[frame] for frame in range(3, 17)]) for poses in (raw, calm)]
    assert errors[0] == pytest.approx(1, rel=0.1) and errors[1] == pytest.approx(0.577, rel=0.1)
    assert calm.at(50).shape == (0, 18, 2)


def test_a_person_who_is_lost_for_some_frames_is_drawn_on(tmp_path: Path) -> None:
    truth = trembling(tmp_path, without=(5, 6, 7, 19))
    calm = Poses(tmp_path, WIDTH, HEIGHT, 7)
    assert np.abs(calm.at(6)[0] - truth[6]).max() < 4
    assert len(calm.at(19)) == 0 and len(Poses(tmp_path, WIDTH, HEIGHT, 0).at(6)) == 0


def test_two_people_stay_apart_under_smoothing(tmp_path: Path) -> None:
    """They walk through each other: had they been swapped, each would turn round in the middle."""
    for frame in range(24):
        people = [THERE + [6 * frame - 100, 0], THERE + [44 - 6 * frame, 0]]
        write_pose(tmp_path / f"{frame:05d}.json", *people[:: (-1) ** frame])
    poses = Poses(tmp_path, WIDTH, HEIGHT, 7)
    necks = np.sort([poses.at(frame)[:, 1, 0] for frame in range(24)], 1)
    expected = np.sort([[50 + 6 * frame, 194 - 6 * frame] for frame in range(24)], 1)
    assert np.abs(necks - expected).max() < 1e-6


def test_the_identity_is_that_of_what_is_drawn(tmp_path: Path) -> None:
    trembling(tmp_path, frames=30)

    def identities(window: int = 7) -> list[str]:
        poses = Poses(tmp_path, WIDTH, HEIGHT, window)
        return [poses.identity(frame) for frame in range(30)]

    before = identities()
    assert identities() == before and len(set(before)) == 30
    write_pose(tmp_path / "walk_000000000012_keypoints.json", THERE + [25, 1])
    changed = [frame for frame, (a, b) in enumerate(zip(before, identities(), strict=True)) if a != b]
    assert changed == list(range(9, 16))  # the frames whose windows hold frame 12
    assert not set(identities(5)) & set(identities(0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no poses that can be read"),
        ("[]", "no object with a list of at most 200 people"),
        ('{"people": {}}', "no object with a list"),
        ('{"people": [7]}', "is no list of 54"),
        ('[{"people": []}, {"people": []}]', "no object with a list"),
        (json.dumps({"people": [{}] * 201}), "at most 200 people"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1.0] * 51}]}), "no list of 54 .BODY_18. or 75 .BODY_25. numbers"),
        (json.dumps({"people": [{"pose_keypoints_2d": ["1"] * 54}]}), "something that is no number"),
        (json.dumps({"people": [{"pose_keypoints_2d": [True] * 54}]}), "something that is no number"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1e9] * 54}]}), "more than 10 times the frame's side away"),
        ('{"people": [{"pose_keypoints_2d": [' + "NaN," * 53 + "NaN]}]}", "NaN, which is no finite number"),
        ('{"people": [{"pose_keypoints_2d": [' + "1e999," * 53 + "1]}]}", "no finite number"),
        ('{"people": [], "canvas_width": 512}', "no sizes in pixels"),
        ('{"people": [], "canvas_width": 0, "canvas_height": -3}', "no sizes in pixels"),
        ('{"people": ' + "[" * 90 + "]" * 90 + "}", "nested too deeply"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_files_that_are_none_end_in_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "3.json").write_text(content)
    with pytest.raises(UserError, match=rf"3\.json holds no poses that can be read .*{said if content else ''}") as problem:
        Poses(tmp_path, WIDTH, HEIGHT, 7)
    assert "\n" not in str(problem.value)


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "3.json").write_bytes(b" " * 4_000_001)
    with pytest.raises(UserError, match=r"3\.json has 4000001 bytes, more than"):
        Poses(tmp_path, WIDTH, HEIGHT, 7)


def write_names(folder: Path, *names: str) -> Any:
    for name in names:
        write_pose(folder / name, THERE)


def test_folders(tmp_path: Path) -> None:
    for name, said in (("none", "none is no folder"), ("file", "file is no folder")):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=said):
            Poses(tmp_path / name, WIDTH, HEIGHT, 7)
    with pytest.raises(UserError, match=r"holds no pose file named by a frame number: name them 00012\.json for frame 12"):
        Poses(tmp_path, WIDTH, HEIGHT, 7)
    write_names(tmp_path / "two", "00012.json", "a_000000000012_keypoints.json")
    with pytest.raises(UserError, match=r"has two pose files of keyframe 12 \(00012\.json, a_0+12_keypoints\.json\)"):
        Poses(tmp_path / "two", WIDTH, HEIGHT, 7)
    write_pose(tmp_path / "empty" / "1.json")
    with pytest.raises(UserError, match=r"--poses .*empty holds nobody: no key point"):
        Poses(tmp_path / "empty", WIDTH, HEIGHT, 7)
    write_names(tmp_path / "some", "0.json", "take2_000000000012_keypoints.json", "7.JSON", ".3.json", "notes.txt")
    poses = Poses(tmp_path / "some", WIDTH, HEIGHT, 7)
    assert list(poses.files) == [0, 7, 12]
    poses.check([0, 12])
    with pytest.raises(UserError, match=r"no file of frame 1, 2, 3 and 3 more: add 00001\.json \(found: 0, 7 and 12\)"):
        poses.check([1, 2, 3, 4, 5, 6, 7])
