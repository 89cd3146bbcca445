"""Who is who from frame to frame: people who cross, who pause, who come new."""

from __future__ import annotations

import numpy as np

from edit.controls.people import Person, followed
from tests.edit.controls.bodies import BODY

NEAR = 10.0


def walk(start: float, speed: float, frames: int = 24, y: float = 100.0) -> np.ndarray:  # (frames, 18, 2)
    """Somebody who walks along, swinging their limbs."""
    time = np.arange(frames)
    points = BODY + np.stack([start + speed * time, np.full(frames, y)], -1)[:, None]
    points[:, [3, 4, 9, 10]] += np.stack([6 * np.sin(time * 0.8), 0 * time], -1)[:, None]
    return points


def frames_of(*people: np.ndarray, seed: int = 0, tremble: float = 0.7) -> dict[int, np.ndarray]:
    """Frames in which people stand in an order that changes, their points trembling."""
    rng = np.random.default_rng(seed)
    frames = {}
    for frame in range(len(people[0])):
        bodies = np.stack([person[frame] for person in people])[rng.permutation(len(people))]
        bodies = bodies[np.isfinite(bodies).any((1, 2))]
        frames[frame] = bodies + rng.normal(scale=tremble, size=bodies.shape)
    return frames


def follows(person: Person, truth: np.ndarray) -> bool:
    part = truth[person.first : person.first + len(person.points)]
    return len(part) == len(person.points) and float(np.nanmax(np.abs(person.points - part))) < 5


def test_two_people_who_walk_through_each_other() -> None:
    """They meet between two frames, so that each stands where the other stood: nearest alone would swap them."""
    right, left = walk(50, 6), walk(194, -6)
    assert np.abs(right[12, 1] - left[12, 1]).max() == 0 and np.abs(right[11, 1] - left[13, 1]).max() == 0
    for seed in range(5):
        found = followed(frames_of(right, left, seed=seed), 7, NEAR)
        assert len(found) == 2 and all(len(person.points) == 24 and person.first == 0 for person in found)
        assert sorted(follows(person, right) for person in found) == [False, True]
        assert sorted(follows(person, left) for person in found) == [False, True]


def test_a_crowd_keeps_its_identities() -> None:
    crowd = [walk(40 + 70 * number, (-1) ** number * 2.5, y=100 + 3 * number) for number in range(6)]
    found = followed(frames_of(*crowd), 7, NEAR)
    assert len(found) == 6 and all(sum(follows(person, truth) for truth in crowd) == 1 for person in found)


def test_who_is_hidden_for_a_while_is_the_same_afterwards_and_somebody_new_later() -> None:
    someone, other = walk(50, 3), walk(400, 0)
    someone[8:15] = np.nan
    found = followed(frames_of(someone, other), 7, NEAR)
    assert [len(person.points) for person in found] == [24, 24]
    hidden = next(person for person in found if follows(person, someone))
    assert np.isnan(hidden.points[8:15]).all()
    someone[15] = np.nan  # eight frames now, more than the patience
    found = followed(frames_of(someone, other), 7, NEAR)
    assert sorted((person.first, len(person.points)) for person in found) == [(0, 8), (0, 24), (16, 8)]


def test_who_stands_elsewhere_is_somebody_else() -> None:
    there, then_here = walk(50, 0, 6), walk(300, 0, 6)
    there[3:], then_here[:3] = np.nan, np.nan
    found = followed(frames_of(there, then_here), 7, NEAR)
    assert [(person.first, len(person.points)) for person in found] == [(0, 3), (3, 3)]


def test_single_points_go_and_come_back() -> None:
    truth = walk(50, 4)
    partly = truth.copy()
    partly[3:9, 10:] = np.nan
    partly[12, 1:] = np.nan  # a head alone
    (person,) = followed(frames_of(partly), 7, NEAR)
    assert follows(person, truth) and np.array_equal(np.isnan(person.points), np.isnan(partly))


def test_frames_without_files_are_frames_without_people() -> None:
    truth = walk(50, 4)
    frames = {frame: bodies for frame, bodies in frames_of(truth).items() if frame % 4 == 0}
    frames[9] = np.empty((0, 18, 2))
    (person,) = followed(frames, 7, NEAR)
    assert follows(person, truth) and np.isfinite(person.points[:, 0, 0]).sum() == 6
    assert followed({3: np.empty((0, 18, 2))}, 7, NEAR) == []
