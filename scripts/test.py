"""Run the tests, in a virtual environment that is made where none is active. Arguments go to pytest."""

from __future__ import annotations

import sys

import environment

if __name__ == "__main__":
    environment.explain(__doc__, takes_arguments=True)
    environment.enter("test")
    sys.exit(environment.call([sys.executable, "-m", "pytest", "-q", *sys.argv[1:]], environment.ROOT))
