"""Threads that work on frames: what they do to the caller's own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from atlas.system.machine import CORES, usable_cores
from atlas.system.parallel import beside, in_order

ROOT = Path(__file__).resolve().parents[3]


def test_results_come_in_order() -> None:
    assert list(in_order(lambda number: number * 2, range(50))) == list(range(0, 100, 2))


def test_work_goes_on_beside_a_block() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert ended.wait(10)
        return "done"

    with beside(work) as result:
        assert begun.wait(10)  # before the block ends, and without being asked for
        ended.set()
        assert result() == result() == "done"


def test_what_goes_wrong_beside_a_block_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), beside(lambda: 1 / 0) as result:
        result()
    with pytest.raises(ZeroDivisionError), beside(lambda: 1 / 0):
        pass
    with pytest.raises(KeyError), beside(lambda: 1 / 0):  # the block's own comes first
        raise KeyError


@pytest.mark.slow
def test_the_caller_keeps_its_own_threads_of_torch() -> None:
    """A worker's setting becomes that of every thread that has not asked for its own: in a new process, the main one's too."""
    usual, inside, after = (
        subprocess.run(
            [sys.executable, "-c", f"import torch\n{code}"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for code in (
            "print(torch.get_num_threads())",
            "from atlas.system.parallel import beside, in_order\nprint(*in_order(lambda _: torch.get_num_threads(), range(2)))",
            "from atlas.system.parallel import beside, in_order\nlist(in_order(str, range(4)))\nprint(torch.get_num_threads())",
        )
    )
    assert inside == "1 1\n" and after == usual


@pytest.mark.parametrize(("share", "threads"), [("1", 1), ("1000", usable_cores()), ("all", usable_cores())])
def test_a_process_keeps_to_its_share_of_the_cores(share: str, threads: int) -> None:
    code = "import cv2; from atlas.system.parallel import WORKERS; print(WORKERS, cv2.getNumThreads())"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {CORES: share}, check=True, capture_output=True, text=True
    )
    assert told.stdout.split() == [str(min(threads, 8)), str(threads)]
