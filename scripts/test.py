"""Run the tests, in a virtual environment that is made where none is active. Arguments go to pytest.

--quick leaves out the tests that fit, merge, evaluate, load a model or start a command: about a minute is left.
--checks checks format, lint and types first, and ends with the first of them that fails.
"""

from __future__ import annotations

import sys

import environment

QUICK = ("-m", "not slow")
"""What --quick stands for: tests/conftest.py says which tests are slow."""
CHECKS = (("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",))


def commands(arguments: list[str]) -> list[list[str]]:
    """The modules to run, each with its arguments: the checks that are asked for, then pytest."""
    checks = CHECKS if "--checks" in arguments else ()
    quick = QUICK if "--quick" in arguments else ()
    others = [argument for argument in arguments if argument not in ("--checks", "--quick")]
    return [*map(list, checks), ["pytest", "-q", *quick, *others]]


def run(arguments: list[str]) -> int:
    """Run them one after another; returns the exit status of the first that failed."""
    for command in commands(arguments):
        status = environment.call([sys.executable, "-m", *command], environment.ROOT)
        if status != 0:
            return status
    return 0


if __name__ == "__main__":
    environment.explain(__doc__, takes_arguments=True)
    environment.enter("test")
    sys.exit(run(sys.argv[1:]))
