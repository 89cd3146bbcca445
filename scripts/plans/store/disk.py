"""Files of a folder on this machine's disk: which there are, and how those of a manifest are put in their places."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from atlas.errors import UserError
from atlas.storage.atomic import scratch_folder
from atlas.storage.digests.files import file_digest
from atlas.storage.lease.remnants import is_of_program
from scripts.plans.store.area import Area
from scripts.plans.store.manifest import Entry, Manifest
from scripts.plans.store.remote import StoreError

FileState = tuple[int, int]
"""Size and time of a file."""


def fetch(area: Area, files: dict[str, Entry], parent: Path, name: str, placed: Callable[[str], Path]) -> None:
    """Bring files by way of a folder in `parent`, and put each to where `placed` says once all are there."""
    needed = sum(one.size for one in files.values())
    if needed > (free := shutil.disk_usage(parent).free):
        raise StoreError(f"{parent}: {needed / 1e6:.0f} MB come from the store, and {free / 1e6:.0f} are free")
    with scratch_folder(parent, name) as scratch:
        numbers = {one: str(number) for number, one in enumerate(files)}
        area.bring(files, lambda one: scratch / numbers[one])
        for one, entry in files.items():
            os.utime(scratch / numbers[one], ns=(entry.mtime_ns, entry.mtime_ns))
            (scratch / numbers[one]).replace(placed(one))


def place(root: Path, name: str) -> Path:
    """Where a file of a manifest belongs, its folders made; UserError where a link or something of the user's is in the way."""
    *within, last = name.split("/")
    path = made_folder(root, within) / last
    if path.is_dir() and not path.is_symlink():
        try:
            path.rmdir()
        except OSError:
            raise UserError(f"{path} is a folder here and a file in the store: move the one here away") from None
    return path


def made_folder(root: Path, parts: Sequence[str]) -> Path:
    """A folder below another one, made where it is missing; UserError where a link or a file is in the way."""
    root.mkdir(exist_ok=True)
    folder = root
    for part in parts:
        folder = folder / part
        if folder.is_symlink():
            raise UserError(f"{folder} is a link, and what comes from a store goes through none: remove it")
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file here and a folder in the store: move the one here away")
        folder.mkdir(exist_ok=True)
    return folder


def listing(folder: Path) -> dict[str, FileState]:
    """Size and time of all files in a folder, by name; UserError where a link, a pipe or a device is in it."""
    return {name: (about.st_size, about.st_mtime_ns) for name, about in _walk(folder)[0]}


def scan(folder: Path, known: Manifest) -> Manifest:
    """The manifest of a folder; what has the size and time of a known file is taken for that, unread."""
    states, empty = _walk(folder)
    files = {}
    for name, about in states:
        files[name] = entry_of(folder / name, about, known.files.get(name))
    return Manifest(files, tuple(empty))


def entry_of(path: Path, about: os.stat_result, known: Entry | None) -> Entry:
    """The entry of a file; one that has the size and time of a known entry is taken for that, unread."""
    if known is not None and known.state == (about.st_size, about.st_mtime_ns):
        return known
    return Entry(about.st_size, file_digest(path).hex(), about.st_mtime_ns)


def _walk(folder: Path) -> tuple[list[tuple[str, os.stat_result]], list[str]]:
    """Files with their states, and empty folders; without leases and what is half-made."""
    files: list[tuple[str, os.stat_result]] = []
    empty: list[str] = []
    waiting = [""] if folder.is_dir() else []
    while waiting:
        within = waiting.pop()
        count = 0
        with os.scandir(folder / within) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if is_of_program(entry.name):
                    continue
                count += 1
                name = f"{within}/{entry.name}" if within else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                elif entry.is_file(follow_symlinks=False):
                    files.append((name, entry.stat(follow_symlinks=False)))
                else:
                    raise UserError(
                        f"{folder / name} is a link, a pipe or a device, and a store holds files: copy it in its place"
                    )
        if not count and within:
            empty.append(within)
    return files, empty
