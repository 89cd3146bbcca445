"""File of a lease: made exclusively by who writes, one for each who reads; stale a minute after its last touch."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import UserError
from atlas.storage.json_text import parsed, read_bounded
from atlas.storage.lease.owner import Owner, short

TOUCHED = 5.0
"""Seconds between two touches of a lease that is held."""
STALE = 60.0
"""Seconds after the last touch from which on nobody is at work any more."""
_LARGEST = 4096  # bytes of a lease
_READS = ".read-"
_TRIES = 50
_YIELD = 0.3  # seconds in which a reader that found a writer has withdrawn


@dataclass(frozen=True)
class LeaseFile:
    """The file of the one who writes to something, and beside it, with their tokens, those of the ones who read it."""

    path: Path

    @classmethod
    def beside(cls, target: Path) -> LeaseFile:
        """The lease of a file or folder, in the folder that it lies in: what is replaced as a whole keeps it."""
        return cls(target.parent / f".{short(target.name)}.lease")

    @classmethod
    def inside(cls, folder: Path) -> LeaseFile:
        """The lease of a folder in itself: of a clip, whose parent may be closed to us."""
        return cls(folder / ".lease")

    def reader(self, owner: Owner) -> Path:
        """The file of one who reads."""
        return self.path.with_name(f"{self.path.name}{_READS}{owner.token}")

    def take_alone(self, me: Owner) -> Owner | None:
        """Take the lease to write; returns who holds it instead, or None: it is ours."""
        if not _created(self.path, me):
            holder = _living(self.path, me)
            if holder is not None:
                return holder
            if not self._taken_over(me):
                return owner_of(self.path) or _UNKNOWN
        end = time.monotonic() + _YIELD
        while reader := self._other_reader(me):
            if time.monotonic() > end:
                remove_own(self.path, me)
                return reader
            time.sleep(_YIELD / 6)
        return None

    def take_shared(self, me: Owner) -> Owner | None:
        """Take the lease to read; returns who writes there, or None: nobody does, and nobody begins to."""
        own = self.reader(me)
        for path in self._readers():
            if (reader := owner_of(path)) is not None and reader.is_dead():
                path.unlink(missing_ok=True)
        _created(own, me)  # first: whoever comes to write after this finds it
        if os.path.lexists(self.path) and (holder := _living(self.path, me)) is not None:
            remove_own(own, me)
            return holder
        return None

    def _other_reader(self, me: Owner) -> Owner | None:
        """One who reads at present; files of those that died go."""
        for path in self._readers():
            if (reader := _living(path, me)) is not None:
                return reader
            path.unlink(missing_ok=True)
        return None

    def _readers(self) -> list[Path]:
        """The files of those who read, alive or not."""
        try:
            names = os.listdir(self.path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return []
        cut = [(name, *name.rpartition(_READS)) for name in names]
        return [self.path.with_name(name) for name, of, _, token in cut if of == self.path.name and token.isalnum()]

    def _taken_over(self, me: Owner) -> bool:
        """Put ours in the place of a stale lease by renaming; whether it is there, and no other's that came first."""
        guard, ours = (self.path.with_name(f"{self.path.name}-{name}") for name in ("takeover", me.token))
        if not _created(guard, me):  # somebody else is about to
            if _living(guard, me) is None:
                guard.unlink(missing_ok=True)
            return False
        try:
            if not os.path.lexists(self.path):  # given back meanwhile: whoever makes it first has it
                return _created(self.path, me)
            if _living(self.path, me) is not None:
                return False
            _created(ours, me)
            ours.replace(self.path)
            return is_of(self.path, me)
        except IsADirectoryError:
            raise UserError(f"{self.path} is a folder where a file is needed: remove it") from None
        finally:
            ours.unlink(missing_ok=True)
            remove_own(guard, me)


_UNKNOWN = Owner("an unknown machine", "", 0, "", "another command", "just now", "")


def owner_of(path: Path) -> Owner | None:
    """Who made a lease's file; None where there is none, or it does not say (it is being written)."""
    try:
        return Owner.of(parsed(read_bounded(path, _LARGEST)))
    except (OSError, ValueError, UserError):
        return None


def is_of(path: Path, owner: Owner) -> bool:
    """Whether the file of a lease is the one that `owner` made."""
    found = owner_of(path)
    return found is not None and found.token == owner.token


def remove_own(path: Path, owner: Owner) -> None:
    """Remove the file of a lease if it is ours."""
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            if is_of(path, owner):
                path.unlink(missing_ok=True)
            return
        time.sleep(0.02)  # Windows: somebody is just reading who holds it


def _created(path: Path, owner: Owner) -> bool:
    """Make a lease's file; False where there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
    except FileExistsError:
        return False
    except PermissionError:  # Windows: of a file that is just being deleted
        if os.path.lexists(path):
            return False
        raise
    try:
        with open(descriptor, "wb") as stream:
            stream.write(json.dumps(owner.to_dict()).encode())
    except OSError:  # a full disk: a lease that names nobody would keep everybody out for a minute
        path.unlink(missing_ok=True)
        raise
    return True


def _living(path: Path, me: Owner) -> Owner | None:
    """Who holds the lease of this file; None where nobody does any more."""
    touched = _touched(path)
    if touched is None:
        return None
    owner = owner_of(path)
    if owner is not None and owner.is_dead():
        return None
    if abs(_now(path, me) - touched) <= STALE:
        return owner or _UNKNOWN
    # A machine that slept wakes with all its leases old: who lives touches them at once.
    end = time.monotonic() + TOUCHED + 1
    while time.monotonic() < end:
        time.sleep(0.2)
        now = _touched(path)
        if now is None:
            return None
        if now != touched:
            return owner_of(path) or _UNKNOWN
    return None


def _touched(path: Path) -> float | None:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return None


def _now(path: Path, me: Owner) -> float:
    """The time by the clock that `path` is touched by: that of its disk, which may be another machine's."""
    probe = path.with_name(f"{path.name}-{me.token}-now")
    try:
        probe.write_bytes(b"")
        return os.lstat(probe).st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
