"""UserError: the user can mend this; BusyError: somebody else is at work. And how messages word exceptions and long lists."""

from __future__ import annotations

from collections.abc import Iterable

# The commands, as messages name them.
PREPARE = "scripts/prepare.py"
FIT = "scripts/fit.py"
EDIT = "scripts/edit.py"
AGGREGATE = "scripts/aggregate.py"
ORACLE = "scripts/oracle.py"
DEFLICKER = "scripts/deflicker.py"
RENDER = "scripts/render.py"


class UserError(Exception):
    """Something the user must change.

    The message is one line: what is wrong, where (the file), and what to do. Commands print it
    after ``error: `` and exit with status 2; nothing has been half-written when it is raised.
    """


class BusyError(Exception):
    """Somebody else is at work in the folder that was to be written.

    The message is one line: where, who, and since when. Commands print it after ``busy: `` and exit with status 3; nothing
    has been half-written when it is raised.
    """


def one_line(problem: BaseException) -> str:
    """The message of an exception on one line, cut to 240 characters; its type where it has none."""
    message = " ".join(str(problem).split()) or type(problem).__name__
    return message if len(message) <= 240 else message[:237] + "..."


def a_few(names: Iterable[object], shown: int = 3, rest: str = "more") -> str:
    """A list in words, shortened: "1, 2 and 3", or of many the first `shown` and how many there are of the `rest`."""
    words = [str(name) for name in names]
    if len(words) > shown + 1:  # "and 1 more" would take the room of the one
        return f"{', '.join(words[:shown])} and {len(words) - shown} {rest}"
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
