"""Budget of seconds: what still fits, by how long the work before it took on this machine, under its present load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

SHARES = {
    "coarse round": 1.5,
    "round": 3.4,
    "start": 2.6,
    "light": 0.8,
    "atlas": 1.0,
    "maps": 1.6,
    "outputs": 5.5,
}
"""What each kind of work takes, in closed-form passes for the atlases (768x432, 50 frames, two cores)."""
_MEMORY = 0.5  # how much what is past counts against what is just done, in the pace


class Budget:
    """Seconds until a deadline, and estimates of what fits into them.

    An estimate is what the last work of that kind took, or else its share of a pass. Either is scaled by the pace of late, so
    that a machine that has become busy is noticed.
    """

    def __init__(self, deadline: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """deadline: on that clock."""
        self._clock, self._deadline = clock, deadline
        self._pace: float | None = None  # seconds of a pass
        self._took: dict[str, tuple[float, float]] = {}  # by kind: seconds of the last one, and the pace then

    def timed(self, kind: str, work: Callable[[], None]) -> None:
        """Do work of a kind, and learn what it takes."""
        began = self._clock()
        work()
        self.expect(kind, self._clock() - began)

    def expect(self, kind: str, seconds: float) -> None:
        """Take it that work of a kind takes so many seconds. Where its share of a pass is known, that tells the pace too."""
        if kind in SHARES:
            now = seconds / SHARES[kind]
            self._pace = now if self._pace is None else _MEMORY * self._pace + (1 - _MEMORY) * now
        self._took[kind] = seconds, self._pace or 0.0

    def estimate(self, kind: str) -> float:
        """Seconds that work of a kind would take now; 0 where nothing is known of it yet."""
        pace = self._pace or 0.0
        if kind not in self._took:
            return SHARES.get(kind, 0.0) * pace
        seconds, then = self._took[kind]
        return seconds * max(1.0, pace / then) if then else seconds

    def how_many(self, most: int, kind: str, others: Iterable[str]) -> int:
        """How often work of a kind fits in, up to `most` times, before all others that must follow it."""
        left = self._deadline - self._clock() - sum(map(self.estimate, others))
        if left <= 0:
            return 0
        each = self.estimate(kind)
        return min(most, int(left / each)) if each > 0 else most

    def fits(self, work: Iterable[str]) -> bool:
        """Whether all of this work would be done in time."""
        return self._clock() + sum(map(self.estimate, work)) <= self._deadline

    def known(self) -> dict[str, Any]:
        """What was learned of the machine, as JSON holds it: for `recall` in a run that goes on."""
        return {"pace": self._pace, "took": {kind: list(entry) for kind, entry in self._took.items()}}

    def recall(self, known: dict[str, Any]) -> None:
        """Take up what `known` gave."""
        self._pace = None if known["pace"] is None else float(known["pace"])
        self._took = {str(kind): (float(seconds), float(then)) for kind, (seconds, then) in known["took"].items()}
