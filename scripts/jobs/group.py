"""Process group: a command and all that it starts, which are told to end together; Ctrl-C in our terminal does not reach it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any


def own_group() -> dict[str, Any]:
    """Keywords of Popen for a process group of its own."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def interrupt(leader: int) -> None:
    """Interrupt a group as Ctrl-C does, by the id of the process that leads it."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError):
            os.kill(leader, signal.CTRL_BREAK_EVENT)  # Ctrl-C cannot be sent to a group of its own
    else:
        _send(leader, signal.SIGINT)


def terminate(leader: int) -> None:
    """Tell a group to end that ignores interrupts, as what a shell started in the background does."""
    if sys.platform == "win32":
        kill(leader)
    else:
        _send(leader, signal.SIGTERM)


def kill(leader: int) -> None:
    """Kill what is left of a group."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError):
            subprocess.run(["taskkill", "/f", "/t", "/pid", str(leader)], capture_output=True, check=False)
    else:
        _send(leader, signal.SIGKILL)


def _send(leader: int, number: int) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)
