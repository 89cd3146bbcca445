"""Run the tests, in a virtual environment that is made where none is active. Arguments go to pytest.

--quick leaves out the tests that fit, merge, evaluate, load a model or start a command: about a minute is left.
--checks checks format, lint and types first, and ends with the first of them that fails.
All tests, or those of folders, are shared among a process for each core, up to four (-n 0: one); else one process runs them.
"""

from __future__ import annotations

import os
import sys

import environment

QUICK = ("-m", "not slow")
"""What --quick stands for: tests/conftest.py says which tests are slow."""
CHECKS = (("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",))
MOST_WORKERS = 4
"""Each takes a core and the memory of torch and diffusers, and in a container more cores are counted than there are to have."""
WATCHED = {"-s", "--capture=no", "--pdb", "--trace", "--co", "--collect-only"}
"""Options of pytest that show or ask while a test runs, or run none: nothing for workers."""


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_workers(arguments: list[str], cores: int) -> int:
    """How many processes share the tests: several for all, or for folders, that nobody watches; for a few it takes longer.

    Nor do pytest's workers say anything of a path that is not there.
    """
    folders = all((environment.ROOT / argument).is_dir() for argument in arguments if not argument.startswith("-"))
    return min(cores, MOST_WORKERS) if folders and not WATCHED & set(arguments) else 1


def commands(arguments: list[str], cores: int) -> list[list[str]]:
    """The modules to run, each with its arguments: the checks that are asked for, then pytest."""
    checks = CHECKS if "--checks" in arguments else ()
    quick = QUICK if "--quick" in arguments else ()
    others = [argument for argument in arguments if argument not in ("--checks", "--quick")]
    workers = count_workers(others, cores)
    # By stealing, tests of one file mostly stay with one worker, and what they share is made once.
    shared = ("-n", str(workers), "--dist", "worksteal") if workers > 1 else ()
    return [*map(list, checks), ["pytest", "-q", *shared, *quick, *others]]


def run(arguments: list[str]) -> int:
    """Run them one after another; returns the exit status of the first that failed."""
    cores = usable_cores()
    asked = commands(arguments, cores)
    if "-n" in asked[-1]:
        # Else each worker's torch starts a thread for every core, and they wait for each other.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(cores // MOST_WORKERS, 1)))
    for command in asked:
        status = environment.call([sys.executable, "-m", *command], environment.ROOT)
        if status != 0:
            return status
    return 0


if __name__ == "__main__":
    environment.explain(__doc__, takes_arguments=True)
    environment.enter("test")
    sys.exit(run(sys.argv[1:]))
