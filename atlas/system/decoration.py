"""What only decorates a result: where it cannot be drawn that is said, and the work is kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from atlas.errors import BusyError, one_line
from atlas.system.terminal import in_one_line, say


@contextmanager
def decoration(what: str) -> Iterator[None]:
    """Draw or note what a result could do without (a sheet, a preview, a plot): any failure of the block ends in one line.

    what: its name there. Sheets are drawn of whatever was worked on, at any size and of any number of layers, by libraries that
    have limits of their own; hours of work before them are worth more. BusyError passes: then nothing may be written at all.
    """
    try:
        yield
    except BusyError:
        raise
    except Exception as problem:  # whatever it is: nothing else depends on the block
        kind = type(problem).__name__
        say(in_one_line(f"{what} could not be made, all else is there ({kind}: {one_line(problem)})"), sys.stderr)
