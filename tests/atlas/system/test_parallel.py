"""Threads that work on frames: what they do to the caller's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from atlas.system.parallel import in_order

ROOT = Path(__file__).resolve().parents[3]


def test_results_come_in_order() -> None:
    assert list(in_order(lambda number: number * 2, range(50))) == list(range(0, 100, 2))


@pytest.mark.slow
def test_the_caller_keeps_its_own_threads_of_torch() -> None:
    """A worker's setting becomes that of every thread that has not asked for its own: in a new process, the main one's too."""
    usual, inside, after = (
        subprocess.run(
            [sys.executable, "-c", f"import torch\n{code}"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for code in (
            "print(torch.get_num_threads())",
            "from atlas.system.parallel import in_order\nprint(*in_order(lambda _: torch.get_num_threads(), range(2)))",
            "from atlas.system.parallel import in_order\nlist(in_order(str, range(4)))\nprint(torch.get_num_threads())",
        )
    )
    assert inside == "1 1\n" and after == usual
