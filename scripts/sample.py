"""Build the sample clip: footage made of real photographs, with its true layers beside it."""

from __future__ import annotations

from atlas.command import run_command
from atlas.sample_files import SampleOptions, build_sample

if __name__ == "__main__":
    run_command(SampleOptions, build_sample)
