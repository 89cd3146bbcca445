"""Owner of a lease or of a half-made file: which process on which machine, and whether it still lives."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

_LONGEST = 200  # characters of what is shown
_LONGEST_NAME = 200  # bytes of a name; file systems take 255


@dataclass(frozen=True)
class Owner:
    """A process that holds a lease."""

    host: str
    """The machine's name, to be shown."""
    machine: str
    """What tells machines, and of one its starts and its containers apart: process numbers are compared within one alone."""
    pid: int
    started: str
    """When the process began, as the system counts that: a number is given to another process some day."""
    command: str
    since: str
    """When the lease was taken, local time."""
    token: str
    """Random: what shows that a lease is still the one that was taken."""

    @classmethod
    def here(cls) -> Owner:
        """This process, with a new token."""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(_shown(platform.node()), machine(), os.getpid(), _own_start(), _command(), since, secrets.token_hex(8))

    @classmethod
    def of_process(cls, pid: int, command: str) -> Owner:
        """Another process of this machine, which has just been started to run `command`."""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(_shown(platform.node()), machine(), pid, _start(pid), _shown(command), since, secrets.token_hex(8))

    @classmethod
    def of(cls, saved: Any) -> Owner | None:
        """From what a lease's file holds, which may come from anyone; None where it is none."""
        texts = ("host", "machine", "started", "command", "since", "token")
        if not isinstance(saved, dict) or type(saved.get("pid")) is not int or saved["pid"] < 0:
            return None
        if not all(_is_shown(saved.get(name)) for name in texts):
            return None
        return cls(pid=saved["pid"], **{name: saved[name] for name in texts})

    def to_dict(self) -> dict[str, Any]:
        """What `of` takes."""
        return asdict(self)

    def is_dead(self) -> bool:
        """Whether the process has certainly ended: False of one on another machine, of which nothing is known here."""
        return self.machine == machine() and not (runs(self.pid) and _start(self.pid) in (self.started, ""))

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid} on {self.host}, since {self.since})"


def _is_shown(text: Any) -> bool:
    """Whether something is a text that steers no terminal."""
    return isinstance(text, str) and len(text) <= _LONGEST and text.isprintable()


def short(name: str) -> str:
    """A file's name, or of a very long one a part of it that still tells it from others: more is put before and after it."""
    data = name.encode("utf-8", "surrogateescape")
    if len(data) <= _LONGEST_NAME:
        return name
    return data[: _LONGEST_NAME // 2].decode("utf-8", "ignore") + hashlib.sha256(data).hexdigest()[:16]


@cache
def machine() -> str:
    """Eight letters that tell this machine, as long as it is not started anew, and this container from others."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):  # containers with one name number their processes each for itself
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def runs(pid: int) -> bool:
    """Whether a process of this number runs on this machine. One that was killed and not yet waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return os.name == "posix" and _is_hidden(pid)
    except psutil.Error:  # it is somebody else's
        return True


def _is_hidden(pid: int) -> bool:
    """Whether there is a process of somebody else that /proc does not show to us (hidepid, on clusters). Not for Windows."""
    try:
        os.kill(pid, 0)  # on POSIX it asks and does nothing
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False  # our own, and /proc does not know it: it has just ended


def _start(pid: int) -> str:
    """When a process began; "" where that cannot be known."""
    with contextlib.suppress(OSError, IndexError):
        # Linux: in ticks since the machine's start. The time of day, as psutil makes it of that, moves with the clock.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.3f}"
    return ""


@cache
def _own_start() -> str:
    return _start(os.getpid())


def _command() -> str:
    """The command that this process runs, without its options: of an import or a notebook, Python."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    return _shown(name or "python")


def _shown(text: str) -> str:
    """A text as `_is_shown` has it."""
    return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST])
