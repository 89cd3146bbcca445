"""Lease: hold a folder while it is written or read, as the only one who writes to it.

One thread may take a lease again inside itself: a stage that calls another one does not lock itself out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import BusyError
from atlas.storage.lease.file import TOUCHED, LeaseFile, is_of, owner_of, remove_own
from atlas.storage.lease.owner import Owner

_PATIENCE = 0.8
"""Seconds for which even a command that does not wait tries again: somebody may only have looked whether there is work."""
_PAUSE = 0.03


@dataclass
class _Held:
    """A lease that a thread of this process holds."""

    lease: LeaseFile
    file: Path
    target: Path
    """What is written below it is checked."""
    owner: Owner
    alone: bool
    times: int = 1


_held: dict[tuple[Path, int], list[_Held]] = {}
_lock = threading.Lock()
_toucher: threading.Thread | None = None
_waited = 0.0


def waited() -> float:
    """Seconds that the running command has waited for others to end, in all."""
    return _waited


def forget_waiting() -> None:
    """Count what is waited from 0 again, in a process that runs one command after the other."""
    global _waited
    _waited = 0.0


def holds_any() -> bool:
    """Whether this process holds a lease."""
    with _lock:
        return bool(_held)


@contextlib.contextmanager
def writing(target: Path, *, inside: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold a file or folder as the only one who writes to it, and while nobody reads it; it need not exist.

    inside: the lease lies in the folder itself. wait: until who is at work there has ended; else BusyError says who it is.
    """
    made = _missing_folders(target if inside else target.parent)
    try:
        with _holding(_lease(target, inside), _resolved(target), alone=True, wait=wait):
            yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it is not empty: something was written
                folder.rmdir()


@contextlib.contextmanager
def reading(target: Path, *, inside: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold a file or folder while it is read: others may read it too, and nobody writes to it.

    Nothing, if it is not there and nobody is about to make it. inside, wait: as for `writing`.
    """
    if not target.exists() and not os.path.lexists(_lease(target, inside).path):
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_holding(_lease(target, inside), _resolved(target), alone=False, wait=wait))
        except OSError as problem:
            # What may only be read is read untold; what is no folder is for whoever opens it to tell.
            if problem.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
                raise
        yield


def check_ours(path: Path) -> None:
    """BusyError where `path` is to be replaced, and a lease that was taken to write it has become somebody else's.

    That is so after a minute in which this process did not run: the machine slept, or it was stopped.
    """
    with _lock:
        held = [one for several in _held.values() for one in several if one.alone]
    if not held:
        return
    resolved = _resolved(path)
    for one in held:
        if resolved.is_relative_to(one.target) and not is_of(one.file, one.owner):
            other = owner_of(one.file)
            by = f", {other} has taken its place" if other else ""
            raise BusyError(f"{one.target}: this process did not run for a while{by}: run the same command again")


def take_along(folder: Path, successor: Path) -> None:
    """Copy the lease that lies in a folder, if it is ours, into the one that is to take its place as a whole."""
    lease = LeaseFile.inside(_resolved(folder)).path
    with _lock:
        held = [one for several in _held.values() for one in several if one.file == lease]
    if held:
        shutil.copyfile(lease, LeaseFile.inside(successor).path)


@contextlib.contextmanager
def _holding(lease: LeaseFile, target: Path, *, alone: bool, wait: bool) -> Iterator[None]:
    key = (lease.path, threading.get_ident())
    with _lock:
        again = next((one for one in _held.get(key, []) if one.alone or not alone), None)
        if again is not None:
            again.times += 1
    held = again or _taken(lease, target, key, alone=alone, wait=wait)
    try:
        yield
    finally:
        with _lock:
            held.times -= 1
            if last := held.times == 0:
                _held[key].remove(held)
                if not _held[key]:
                    del _held[key]
        if last:
            remove_own(held.file, held.owner)


def _taken(lease: LeaseFile, target: Path, key: tuple[Path, int], *, alone: bool, wait: bool) -> _Held:
    """Take a lease; BusyError where somebody else has it and we do not wait."""
    global _waited
    began = time.monotonic()
    end, told = began + _PATIENCE, False
    while True:
        me = Owner.here()
        other = lease.take_alone(me) if alone else lease.take_shared(me)
        if other is None:
            break
        if time.monotonic() > end:
            if not wait:
                raise BusyError(f"{target}: {other} is at work there: wait for it with --wait, or run this again later")
            if not told:
                line = f"waiting for {other}, at work in {target}"
                print(line if line.isprintable() else ascii(line), file=sys.stderr, flush=True)
                told = True
        time.sleep(_PAUSE * (15 if told else 1))
    _waited += time.monotonic() - began
    held = _Held(lease, lease.path if alone else lease.reader(me), target, me, alone)
    with _lock:
        _held.setdefault(key, []).append(held)
        _start_touching()
    return held


def _start_touching() -> None:
    global _toucher
    if _toucher is None or not _toucher.is_alive():
        _toucher = threading.Thread(target=_touch, name="leases", daemon=True)
        _toucher.start()


def _touch() -> None:
    """Touch what is held, every few seconds, for as long as the process lives."""
    while True:
        time.sleep(TOUCHED)
        with _lock:
            held = [one for several in _held.values() for one in several]
        for one in held:
            with contextlib.suppress(OSError):
                if is_of(one.file, one.owner):  # somebody else's would be kept alive
                    os.utime(one.file)


def _lease(target: Path, inside: bool) -> LeaseFile:
    resolved = _resolved(target)
    return LeaseFile.inside(resolved) if inside else LeaseFile.beside(resolved)


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _missing_folders(folder: Path) -> list[Path]:
    """Make a folder; those that were missing for it, the innermost first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing
