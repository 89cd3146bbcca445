"""Budgets of seconds on a clock that the tests move."""

from __future__ import annotations

import json

from atlas.fitting.budget import SHARES, Budget


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def take(self, seconds: float) -> None:
        self.now += seconds


def test_unknown_work_is_estimated_by_its_share_of_what_was_timed() -> None:
    clock = Clock()
    budget = Budget(100.0, clock)
    budget.timed("coarse round", lambda: clock.take(3.0))
    pace = 3.0 / SHARES["coarse round"]
    assert budget.estimate("outputs") == SHARES["outputs"] * pace
    assert budget.estimate("coarse round") == 3.0
    assert budget.estimate("steps") == 0  # nothing is known of them
    budget.expect("steps", 7.0)
    assert budget.estimate("steps") == 7.0


def test_work_fits_until_the_deadline() -> None:
    clock = Clock()
    budget = Budget(10.0, clock)
    budget.timed("atlas", lambda: clock.take(2.0))
    budget.expect("outputs", 3.0)
    assert budget.how_many(9, "atlas", ["outputs"]) == 2  # 8 seconds are left, 3 of them for the outputs
    assert budget.how_many(1, "atlas", ["outputs"]) == 1
    assert budget.fits(["atlas", "outputs"]) and not budget.fits(["atlas"] * 3 + ["outputs"])
    clock.take(9.0)
    assert budget.how_many(9, "atlas", []) == 0


def test_a_machine_that_becomes_busy_makes_everything_dearer() -> None:
    clock = Clock()
    budget = Budget(100.0, clock)
    budget.timed("light", lambda: clock.take(SHARES["light"]))
    budget.timed("atlas", lambda: clock.take(1.0))
    assert budget.estimate("light") == SHARES["light"]
    budget.timed("atlas", lambda: clock.take(5.0))  # half of that is believed at once
    assert budget.estimate("light") == 3 * SHARES["light"] and budget.estimate("outputs") == 3 * SHARES["outputs"]
    budget.timed("atlas", lambda: clock.take(1.0))
    assert budget.estimate("light") == 2 * SHARES["light"]


def test_a_run_that_goes_on_knows_what_the_one_before_it_learned() -> None:
    clock = Clock()
    before, after = Budget(100.0, clock), Budget(100.0, clock)
    before.timed("atlas", lambda: clock.take(2.0))
    before.expect("steps", 7.0)
    after.recall(json.loads(json.dumps(before.known())))
    for kind in ("atlas", "steps", "outputs"):
        assert after.estimate(kind) == before.estimate(kind) > 0
    after.recall(Budget(1.0, clock).known())
    assert after.estimate("atlas") == 0
