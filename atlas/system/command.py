"""What every command shares: options parsed from a dataclass, exit statuses, one-line errors."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import tyro

from atlas.errors import BusyError, UserError
from atlas.system.interrupt import INTERRUPTED, SAID, raise_again, started
from atlas.system.refusals import refusal_of
from atlas.system.terminal import in_one_line, say

BUSY = 3
"""Exit status of a command that found another one at work."""


@dataclass(kw_only=True)
class CommonOptions:
    """Options that every command takes."""

    quiet: bool = False
    """Show no progress."""


@dataclass(kw_only=True)
class StageOptions(CommonOptions):
    """Options that every stage takes: what works in the folder of a clip."""

    wait: bool = False
    """Where another command is at work on what this one reads or writes: wait until it has ended, instead of ending with status
    3."""


Options = TypeVar("Options", bound=CommonOptions)
_given: CommonOptions | None = None


def began(options: CommonOptions) -> float:
    """When the command that was given these options began, by `time.perf_counter`; now, where they come from no command line.

    Loading torch takes seconds, and more on a busy machine: they count as the command's.
    """
    return started() if options is _given else time.perf_counter()


def run_command(
    options_type: type[Options],
    stage: Callable[[Options], object],
    answer: Callable[[list[str]], str | None] = lambda arguments: None,
) -> NoReturn:
    """Parse the command line into `options_type`, run `stage` and exit with its status.

    `answer` may find a question among the arguments (`--filter help`), whatever else is missing there: its text is then all.
    Exit status: 0 done, 2 the user must change something, 3 somebody else is at work there, 130 interrupted (run again to
    go on).
    Results go to standard output (a dict is printed as JSON), errors to standard error as one line.
    """
    global _given
    raise_again()
    try:
        result: object = answer(sys.argv[1:])
        if result is None:
            _given = options = parse_options(options_type, sys.argv[1:])
            result = stage(options)
        if result is not None:
            say(_as_json(result) if isinstance(result, dict) else str(result))
    except UserError as problem:
        _stop(str(problem), problem)
    except BusyError as problem:
        _stop(str(problem), problem, BUSY)
    except KeyboardInterrupt as stopped:
        traceback.clear_frames(stopped.__traceback__)
        say(SAID, sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away (`| head`): nothing to tell anyone
        sys.stderr.close()
        sys.exit(0)
    except OSError as problem:
        if message := _disk_message(problem):
            _stop(message, problem)
        raise
    except MemoryError as problem:
        _stop("out of memory: close other programs, or work at a smaller size or on fewer frames", problem)
    except Exception as problem:
        # safetensors and torch report a full disk as text, not as an OSError; safetensors' error is no RuntimeError either.
        if "No space left on device" in str(problem):
            _stop("no space left on the device: free some space and run the same command again", problem)
        if message := _name_message(problem):
            _stop(message, problem)
        raise
    sys.exit(0)


def _as_json(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=2).replace("\x7f", "\\u007f")  # all other control characters are escaped already


def parse_options(options_type: type[Options], arguments: list[str]) -> Options:
    """Parse `arguments`; raises UserError with one line where they are wrong."""
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            return tyro.cli(options_type, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:
        if stop.code in (0, None):  # --help
            raise
        raise UserError(refusal_of(refusal.getvalue())) from None


def _disk_message(problem: OSError) -> str | None:
    where = f" ({problem.filename})" if problem.filename else ""
    advice: dict[int, str] = {
        errno.ENOSPC: "no space left on the device: free some space and run the same command again",
        errno.EDQUOT: "disk quota exceeded: free some space and run the same command again",
        errno.EACCES: "permission denied: choose a file that you may read, or a folder that you may write to",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.EPERM: "the operation is not permitted: choose another folder",
        errno.ENOENT: "a file or folder that is needed is not there, or cannot be made: check the path",
        errno.EEXIST: "a file stands where a folder is needed: move it away, or choose another path",
        errno.ENOTDIR: "a part of the path is a file, not a folder: check the path",
        errno.ELOOP: "a link leads to itself: remove it",
        errno.ENAMETOOLONG: "the path is too long: choose a shorter one",
    }
    if problem.errno in advice:
        return advice[problem.errno] + where
    return None


def _name_message(problem: Exception) -> str | None:
    """What the system cannot take as a file's name, wherever it came from; None for other problems."""
    if isinstance(problem, ValueError) and ("embedded null" in str(problem) or "null byte" in str(problem)):
        return "the name of a file or folder holds a NUL character, and cannot be used: check where it is written"
    if isinstance(problem, UnicodeEncodeError):
        return f"a name or text holds characters that cannot be written here ({problem.object!r:.200}): rename it"
    return None


def _stop(message: str, problem: Exception, status: int = 2) -> NoReturn:
    traceback.clear_frames(problem.__traceback__)  # progress bars that the failed work holds end their lines: ours comes last
    say(f"{'busy' if status == BUSY else 'error'}: {in_one_line(message)}", sys.stderr)
    sys.exit(status)
