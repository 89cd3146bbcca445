"""Manifest: the files of a folder in a store, each with its size, digest and time. It may come from anyone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from atlas.errors import UserError
from atlas.storage.json_text import parsed
from atlas.storage.lease.remnants import is_of_program
from atlas.storage.stamps import digest
from atlas.system.terminal import in_one_line

LARGEST = 64_000_000
"""Bytes of a manifest: one of 400 000 files."""
_MOST = 400_000  # files of one
_VERSION = 1
_LONGEST = 1000  # characters of a name
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Entry:
    """A file."""

    size: int
    """Bytes."""
    sha256: str
    mtime_ns: int
    """When it was written, so that all machines see the same time."""

    @property
    def state(self) -> tuple[int, int]:
        """Size and time: what tells, without reading it, whether a file has changed."""
        return self.size, self.mtime_ns


@dataclass(frozen=True)
class Manifest:
    """The files of a folder by their names in it."""

    files: Mapping[str, Entry] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    """Folders with nothing in them."""

    def data(self) -> bytes:
        """As it is stored: the same files give the same bytes."""
        files = {name: [one.size, one.sha256, one.mtime_ns] for name, one in sorted(self.files.items())}
        text = json.dumps({"version": _VERSION, "files": files, "empty": sorted(self.empty)}, separators=(",", ":"))
        return text.encode()

    @classmethod
    def of(cls, data: bytes, where: str) -> Manifest:
        """From what is stored; UserError where it is none, or a name in it leads elsewhere. where: for the message."""
        try:
            saved = parsed(data)
            if saved["version"] != _VERSION:
                raise UserError(f"{where} is of another version of this program: use one version on all machines")
            files = {name: _entry(value) for name, value in saved["files"].items()}
            empty = tuple(saved["empty"])
            names = [*files, *empty]
            if bad := [name for name in names if not is_inside(name)]:
                raise UserError(
                    f"{where} names {in_one_line(str(bad[0]))[:80]!r}, which is no file of its folder: it is refused"
                )
            folders = {*empty, *(str(parent) for name in names for parent in PurePosixPath(name).parents)}
            if twice := [name for name in files if name in folders]:
                raise UserError(f"{where} has {in_one_line(twice[0])[:80]!r} as a file and as a folder: it is refused")
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{where} is damaged: remove it, or use another --store") from None
        return cls(files, empty)

    def checked_data(self, folder: Path) -> bytes:
        """As it is stored; UserError where `of` would refuse it. folder: where its files lie, for the message."""
        data = self.data()
        if len(data) > LARGEST or len(self.files) > _MOST:
            raise UserError(f"{folder} has {len(self.files)} files, more than a store takes of one folder: divide it")
        if not _is_readable(data):
            for name in (*self.files, *self.empty):
                alone = Manifest({name: self.files[name]}) if name in self.files else Manifest(empty=(name,))
                if not _is_readable(alone.data()):
                    shown = in_one_line(str(folder / name))
                    raise UserError(f"{shown} cannot be in a store, for its name or its time: rename it, or `touch` it")
            Manifest.of(data, f"{folder}, with what the store has of it,")
        return data

    def made(self, names: Iterable[str]) -> str:
        """Digest of files and folders by name and content, whatever their times; empty where one is missing."""
        contents: list[list[list[str]]] = []
        for name in names:
            files = [[one, self.files[one].sha256] for one in sorted(self.files) if _is_below(one, name)]
            if not files and not any(_is_below(one, name) for one in self.empty):
                return ""
            contents.append(files)
        return digest(contents)[:16]


def _is_readable(data: bytes) -> bool:
    try:
        Manifest.of(data, "")
    except UserError:
        return False
    return True


def is_inside(name: object) -> bool:
    """Whether a name of a manifest is that of a file in its folder, and of none that steers who may write there."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST or "\\" in name:
        return False
    if any(ord(letter) < 32 or letter == "\x7f" for letter in name):
        return False
    return all(part not in ("", ".", "..") and not _DRIVE.match(part) and not is_of_program(part) for part in name.split("/"))


def sha256(data: bytes) -> str:
    """The digest of a manifest or an object, as it is named by."""
    return hashlib.sha256(data).hexdigest()


def _is_below(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


def _entry(value: object) -> Entry:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("no entry")
    size, name, mtime = value
    if type(size) is not int or type(mtime) is not int or not 0 <= size < 1 << 50 or not 0 <= mtime < 1 << 63:
        raise ValueError("no size or time")
    if not isinstance(name, str) or not _DIGEST.fullmatch(name):
        raise ValueError("no digest")
    return Entry(size, name, mtime)
