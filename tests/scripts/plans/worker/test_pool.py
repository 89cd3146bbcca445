"""Which worker takes a task, and which give back what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.plans.worker.pool import _MOST_MB, Pool


class Plain:
    """What a pool sees of a worker."""

    pid = 0

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment, self.weights, self.held_mb, self.on_gpu, self.is_retired = environment, "", 300.0, False, False

    def retire(self) -> None:
        self.is_retired = True

    def join(self, seconds: float) -> bool:
        return self.is_retired


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setattr("scripts.plans.worker.pool.Worker", lambda environment, log: Plain(environment))
    return Pool()


def taken(pool: Pool, weights: str = "", room: float = 1e6, own: Mapping[str, str] | None = None) -> Any:
    worker: Any = pool.take(own or {}, weights, Path("log"), room)
    worker.weights = weights  # as it is once the task has begun
    return worker


def test_weights_are_found_again(pool: Pool) -> None:
    first, second = taken(pool, "a"), taken(pool)
    pool.give_back(first)
    pool.give_back(second)
    assert pool.loaded() == {"a"}
    assert taken(pool, "a") is first and pool.loaded() == set()
    pool.give_back(first)
    assert taken(pool) is second  # what needs none leaves them be
    pool.give_back(second)
    assert taken(pool, "b") is second
    assert taken(pool, "b") is first  # which lets its own go


def test_what_holds_too_much_is_replaced(pool: Pool) -> None:
    grown = taken(pool)
    grown.held_mb = _MOST_MB + 1
    pool.give_back(grown)
    assert grown.is_retired and taken(pool) is not grown

    loaded = taken(pool, "a")
    loaded.held_mb = 3 * _MOST_MB  # weights are what it is kept for
    pool.give_back(loaded)
    assert not loaded.is_retired and taken(pool, "a") is loaded
    pool.give_back(loaded)
    assert taken(pool, "b") is not loaded and loaded.is_retired


def test_those_that_wait_make_room(pool: Pool) -> None:
    workers = [taken(pool) for _ in range(3)]
    for worker in workers:
        pool.give_back(worker)
    assert taken(pool, room=300) is workers[0]
    assert [worker.is_retired for worker in workers] == [False, True, False]
    workers[2].on_gpu = True
    pool.give_back(workers[0])
    workers[0].weights = "a"
    assert taken(pool, "a") is workers[0] and workers[2].is_retired


def test_another_environment_is_another_worker(pool: Pool) -> None:
    worker = taken(pool)
    pool.give_back(worker)
    other = taken(pool, own={"OMP_NUM_THREADS": "2"})
    assert other is not worker and worker.is_retired
    pool.give_back(other)
    pool.close(1.0)
    assert other.is_retired
