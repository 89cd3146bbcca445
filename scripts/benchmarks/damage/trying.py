"""Try the stages on damaged files: each ends with a result or one line, soon, in little memory, and writes where it should.

A process of its own makes one try after another, as each would import the same things; the one that started it sees that it
goes on, and goes on itself with a new one where it does not.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.system.command import BUSY, CommonOptions, run_command
from atlas.system.cost import peak_ram_mb
from atlas.system.progress import Progress
from atlas.system.terminal import say

LONGEST = 60.0
"""Seconds that a try may take."""
MOST_MB = 2000.0
"""Memory that the process may take, what it imports included."""
_WRITES = {
    "os.mkdir": [(0, 2)],
    "os.rename": [(0, 2), (1, 3)],
    "os.remove": [(0, 1)],
    "os.rmdir": [(0, 1)],
    "os.symlink": [(1, 2)],
    "os.link": [(1, 3)],
    "os.truncate": [(0, 0)],
    "os.chmod": [(0, 2)],
    "os.utime": [(0, 3)],
}
"""What Python tells before a file is changed: of each kind, which argument is the path and which the folder it is below."""


@dataclass(kw_only=True)
class TryDamageOptions(CommonOptions):
    """Damage files at random and hand them to the stages; whatever is not refused in a line, nor read, is printed."""

    count: int = 2000
    """How many files are damaged."""
    first: int = 0
    """Number of the first: the same number and seed damage the same file in the same way."""
    seed: int = 0
    """Other damage."""
    kind: str | None = None
    """Damage files of one kind alone, by its name in `scripts/benchmarks/damage/subjects.py`, such as PNG or model."""


@dataclass(frozen=True)
class Try:
    """What became of one damaged file."""

    number: int
    kind: str
    what: str
    """The file, and who read it."""
    ended: str
    """refused, read, busy; or a fault: what was seen."""
    is_fault: bool
    seconds: float

    def __str__(self) -> str:
        return f"{self.number} {self.what}: {self.ended}"


Work = Callable[[Connection, Path, int, int, int], None]
"""Makes tries of a seed, from one number to before another, in a folder; sends what it is about to do, and each Try."""


def try_damage(options: TryDamageOptions) -> str:
    """Make all tries; returns how they ended. UserError that lists the faults where there are any."""
    if options.count < 1 or options.first < 0:
        raise UserError(f"--count {options.count} --first {options.first}: nothing to try")
    if options.kind is not None:
        _check_kind(options.kind)
    with tempfile.TemporaryDirectory(prefix="try-damage-") as folder:
        made, tries = make_tries(options, Path(folder)), []
        for one in Progress(made, total=options.count, desc="tries", unit="file", quiet=options.quiet):
            tries.append(one)
            if one.is_fault:  # at once: a long run may never come to its end
                say(str(one), sys.stderr)
    faults = [one for one in tries if one.is_fault]
    kinds, ends = Counter(one.kind for one in tries), Counter(one.ended for one in tries if not one.is_fault)
    summary = f"{len(tries)} damaged files ({_listed(kinds)}): {_listed(ends)}"
    summary += f"; the longest took {max(one.seconds for one in tries):.1f} s"
    if faults:
        raise UserError(f"{len(faults)} faults in {summary}")
    return summary


def _check_kind(kind: str) -> None:
    from scripts.benchmarks.damage.subjects import subjects

    known = sorted({one.kind for one in subjects()})
    if kind not in known:
        raise UserError(f"--kind {kind} is none that is damaged here: choose one of {', '.join(known)}")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def make_tries(
    options: TryDamageOptions, folder: Path, work: Work | None = None, longest: float = LONGEST, starting: float = 240.0
) -> Iterator[Try]:
    """Make all tries in order, however many processes that takes; `folder` is for their files.

    work: what such a process does, at the module's top. longest, starting: seconds that a try, and what comes before the
    first, may take.
    """
    number, end, context = options.first, options.first + options.count, multiprocessing.get_context("spawn")
    while number < end:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=work or partial(_work, kind=options.kind), args=(theirs, folder, options.seed, number, end), daemon=False
        )
        process.start()
        theirs.close()
        try:
            doing: tuple[int, str, str] | None = None
            while number < end:
                if not ours.poll(longest if doing else longest + starting):
                    yield Try(*(doing or (number, "", "the start")), f"no end after {longest:.0f} s", True, longest)
                    number += 1
                    break
                try:
                    message = ours.recv()
                except EOFError:
                    process.join()
                    ended = f"the process ended with {process.exitcode}"
                    yield Try(*(doing or (number, "", "the start")), ended, True, 0)
                    number += 1
                    break
                if isinstance(message, Try):
                    yield message
                    number, doing = message.number + 1, (message.number + 1, "", "the next")
                    if message.is_fault and "MB" in message.ended:
                        break  # the peak stays: a new process has its own
                else:
                    doing = message
            else:
                process.join(longest)
        finally:
            _end(process)
            ours.close()


def _end(process: Any) -> None:
    """End the process, with what it started where the system can tell."""
    if process.is_alive():
        process.terminate()
        process.join(5)
    if process.is_alive():
        process.kill()
        process.join()


def _work(connection: Connection, folder: Path, seed: int, first: int, end: int, kind: str | None = None) -> None:
    """Make tries number `first` to `end` - 1 and send each; before it, what it is about to be."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us hears Ctrl-C and ends us
    from scripts.benchmarks.damage.original import make_original
    from scripts.benchmarks.damage.subjects import subjects

    read_here = [one for one in subjects() if kind in (None, one.kind)]
    original, writes = folder / "original", _Writes(folder / "case" / "room")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if not (folder / "made").exists():
            shutil.rmtree(original, ignore_errors=True)
            make_original(original)
            (folder / "made").touch()
    for number in range(first, end):
        draw = random.Random(f"{seed}/{number}")
        case = folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(original, case)
        (subject,) = draw.choices(read_here, [one.weight for one in read_here])
        what, act = subject.damage(case, draw)
        name = f"{what} for {act.__name__.strip('_')}"
        connection.send((number, subject.kind, name))
        given, began = _stand(case / "given"), time.perf_counter()
        with writes.watched():
            ended, is_fault = _ended(partial(act, case))
        seconds = time.perf_counter() - began
        peak = peak_ram_mb() or 0.0
        for trouble in (
            f"more than {MOST_MB:.0f} MB ({peak:.0f})" if peak > MOST_MB else "",
            f"wrote {writes.seen[0]}" if writes.seen else "",
            "changed what it was given" if _stand(case / "given") != given else "",
        ):
            if trouble:
                ended, is_fault = f"{trouble}; {ended}", True
        connection.send(Try(number, subject.kind, name, ended, is_fault, seconds))
    shutil.rmtree(folder / "case", ignore_errors=True)


def _ended(act: Any) -> tuple[str, bool]:
    """How a stage ended as a command would: its name, or what is wrong with it; and whether that is a fault."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            run_command(CommonOptions, lambda options: None, lambda arguments: str(act()))
    except SystemExit as stop:
        said = err.getvalue()
        last = said[said.rfind("error: ") :]
        if stop.code == 0:
            return "read", False
        if stop.code == BUSY:
            return "busy", False
        if stop.code == 2 and "Traceback" not in said and last.count("\n") == 1 and 10 < len(last) < 1500:
            return "refused", False
        return f"status {stop.code}, said {said[-300:]!r}", True
    except BaseException as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        return f"{type(problem).__name__}: {str(problem)[:200]} ({Path(where.filename).name}:{where.lineno})", True
    return "no end", True


def _stand(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything in a folder, with size and time of its last change."""
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths}


class _Writes:
    """Watches where this process writes: what lies outside a folder, and is no temporary file, is remembered."""

    def __init__(self, allowed: Path) -> None:
        temporary = Path(tempfile.gettempdir()).resolve()
        self._below = (str(allowed.resolve()), str(temporary / "tmp"), "/proc/")
        self._itself = (str(temporary), os.devnull)  # the folder itself: a file in it that has no name
        self._watches = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)  # stays for as long as the process lives

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch inside the `with`; `seen` then holds what was outside."""
        self.seen = []
        self._watches = True
        try:
            yield
        finally:
            self._watches = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watches:
            return
        if event == "open":
            _, mode, flags = arguments
            if (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or (isinstance(mode, str) and set(mode) & set("wax+")):
                self._look(event, arguments[0], -1)
        elif event in _WRITES:
            for place, folder in _WRITES[event]:
                self._look(event, arguments[place], arguments[folder] if folder else -1)

    def _look(self, event: str, path: Any, folder: int) -> None:
        if isinstance(path, int):
            return
        named = os.fsdecode(path)
        if folder >= 0 and not os.path.isabs(named):
            if not os.path.isdir("/proc/self/fd"):
                return
            named = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), named)
        where = os.path.join(os.path.realpath(os.path.dirname(named)), os.path.basename(named))
        if not where.startswith(self._below) and os.path.realpath(named) not in self._itself:
            self.seen.append(f"{event} {named}")
