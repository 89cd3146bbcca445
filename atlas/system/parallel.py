"""Work on several frames at once, with results in order."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2

from atlas.system.machine import CORES, usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
WORKERS = min(usable_cores(), 8)
"""Threads that work at once."""
if CORES in os.environ:  # OpenCV would take all cores that there are
    cv2.setNumThreads(usable_cores())


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = WORKERS
) -> Generator[Result, None, None]:
    """`map` on a thread for each core. Only a few results wait at a time, so memory does not grow with the items.

    workers: threads, fewer where a single result takes much memory; about as many results wait.
    """
    if torch := sys.modules.get("torch"):
        torch.get_num_threads()  # fixes the caller's own number, which what a worker sets would else become
    with ThreadPoolExecutor(workers, initializer=_torch_on_one_thread) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def beside(function: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Call a function in a thread of its own while the block does something else: what it gives waits for the result.

    What the function raises is raised there; where nobody asks for the result, at the end of the block. What the block itself
    raises comes first, and waits for the function to end: give it what takes seconds.
    """
    if torch := sys.modules.get("torch"):
        torch.get_num_threads()  # as in `in_order`
    with ThreadPoolExecutor(1, initializer=_torch_on_one_thread) as pool:
        result = pool.submit(function)
        yield result.result
        result.result()


def _torch_on_one_thread() -> None:
    """Torch on one thread in a worker: the workers take every core already, and their teams would only wait for each other."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


_threads = threading.Lock()
_holders = 0
_usual = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV on one thread inside the block: DIS searches in one stripe per thread, and must not depend on the machine's."""
    global _holders, _usual
    with _threads:
        if _holders == 0:
            _usual = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _holders += 1
    try:
        yield
    finally:
        with _threads:
            _holders -= 1
            if _holders == 0:
                cv2.setNumThreads(_usual)
