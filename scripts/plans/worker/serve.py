"""Run commands of stages one after the other in this process, as they come in, each as if the process were its own.

    python -m scripts.plans.worker.serve

Requests are lines on standard input, answers lines on standard output (`messages.py`); the commands get others. It ends with
its input, after a command that did not end well, and where something of one is left that cannot be taken away (`traces.py`).
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import traceback
from collections.abc import Iterator
from typing import BinaryIO

import psutil

from atlas.storage.lease import lease
from atlas.system import cost, interrupt
from atlas.system.progress import PROGRESS_FILE
from scripts.jobs.process import ROOT
from scripts.plans.worker.messages import Answer, Request
from scripts.plans.worker.traces import Traces, let_weights_go, start_weights_anew, uses_gpu


def serve() -> None:
    """Answer requests until there are no more, or this process must not go on."""
    requests, answers = _taken_over()
    interrupt.end_at_once()  # between two commands, and while one is loading; they themselves have it raised
    traces: Traces | None = None
    spent, weights = 0.0, ""
    while line := requests.readline():
        request = Request.of(line)
        with _files_of(request):
            if traces is None:
                traces = Traces()  # loads what most commands do; what goes wrong there is told in the log
            else:
                _begin_anew(keep_weights=request.weights == weights)
            weights = request.weights
            with traces.removed():
                status = _run(request)
            traces.tidy(keep_weights=bool(weights) and status == 0)
        now = cost.cpu_seconds()
        answer = Answer(
            status,
            round(now - spent, 3),
            cost.highest_ram_mb(),
            round(psutil.Process().memory_info().rss / 2**20, 1),
            uses_gpu(),
            status == 0 and traces.are_gone(),
        )
        spent = now
        answers.write(answer.line())
        answers.flush()
        if not answer.goes_on:
            return


def _begin_anew(*, keep_weights: bool) -> None:
    """Count from here what is counted from the start of a process."""
    start_weights_anew() if keep_weights else let_weights_go()
    interrupt.start_anew()
    lease.forget_waiting()
    cost.forget_peaks()


def _taken_over() -> tuple[BinaryIO, BinaryIO]:
    """The streams of the messages; from here on neither commands nor programs that they start read or write there."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    _nowhere(0, 1)
    return requests, answers


def _nowhere(*numbers: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nothing, number)
    os.close(nothing)


@contextlib.contextmanager
def _files_of(request: Request) -> Iterator[None]:
    """Standard output and error go where the request says, whoever writes to them, and nowhere afterwards."""
    with open(request.log, "ab") as log, contextlib.ExitStack() as stack:
        output = stack.enter_context(open(request.result, "wb")) if request.result else log
        os.dup2(output.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os.environ[PROGRESS_FILE] = request.progress
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            _nowhere(1, 2)


def _run(request: Request) -> int:
    """Run a command to its end; its exit status."""
    first, *rest = request.command
    try:
        if first == "-m":
            sys.argv = list(rest)
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(request.command)
            runpy.run_path(str(ROOT / first), run_name="__main__")
    except SystemExit as end:
        return _status(end.code)
    except KeyboardInterrupt:
        return interrupt.INTERRUPTED
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _status(code: object) -> int:
    """The exit status of a process whose program ends by `sys.exit(code)`."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    serve()
