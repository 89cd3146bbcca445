"""Guard of one command: runs it, and kills it and all that it started once the process that asked for it has died.

scripts/plans/engines/guard.py COMMAND...   It leads a process group of its own. Its standard input is a pipe to which nobody
writes: it ends when the other process does, however that died, and even if nobody was left to tell. It is run as a file of
its own and loads the standard library alone, so that it is there at once and stays small. POSIX only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_NOT_THERE = 2  # exit status: the user must change something


def guard(command: list[str]) -> int:
    """Run `command` to its end; returns its exit status, negative: the signal that killed it."""
    # What ends the group is for the command: the guard sees it end. A handler, and not SIG_IGN, which it would inherit.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # Ray's workers block SIGINT, and so would the command
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_dies_with(os.getpid()))  # noqa: PLW1509
    except OSError as problem:
        print(f"error: {command[0]} cannot be started on {os.uname().nodename}: {problem.strerror}", file=sys.stderr)
        return _NOT_THERE
    threading.Thread(target=_watch, name="watch", daemon=True).start()
    return process.wait()


def end_as(status: int) -> None:
    """End this process as a command did that ended with `status`."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has left one, if that is wanted
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _watch() -> None:
    """Wait for the end of standard input; then kill the group, this process included."""
    while os.read(0, 1 << 16):
        pass
    os.killpg(0, signal.SIGKILL)


def _dies_with(parent: int) -> Callable[[], None] | None:
    """What the command's process does before it begins: on Linux the system is to kill it, should the guard alone be killed."""
    if sys.platform != "linux":
        return None
    set_option = ctypes.CDLL(None).prctl

    def ask() -> None:
        set_option(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has died already
            os._exit(1)

    return ask


if __name__ == "__main__":
    end_as(guard(sys.argv[1:]))
