"""Folder of a clip on this machine, and how it is brought from a store and taken back there.

Beside it lies `.NAME.store.json`: which version of the store it is, the files that were brought or taken back, and whether a
stage is at work, or was killed at it. What was changed here since, and by whom, is told by that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from atlas.errors import UserError, a_few
from atlas.storage.digests.files import file_digest
from atlas.storage.lease.owner import short
from atlas.storage.stamps import digest, read_json, write_json
from scripts.plans.store.area import Area, Version
from scripts.plans.store.claim import Claim
from scripts.plans.store.disk import FileState, fetch, listing, made_folder, place, scan
from scripts.plans.store.manifest import Entry, Manifest
from scripts.plans.store.remote import StoreError

_LARGEST = 64_000_000  # bytes of a record


@dataclass(frozen=True)
class Record:
    """What is known of a folder here."""

    version: str = ""
    """Name of the manifest that it was last equal to, as far as it was brought."""
    files: dict[str, FileState] = field(default_factory=dict)
    """Those that came from the store or went there."""
    at_work: bool = False
    """Whether a stage works here, or was killed: whatever differs is its unfinished work."""


@dataclass(frozen=True)
class Folder:
    """A folder here, and its area in a store."""

    path: Path
    area: Area

    def bring(self, version: Version, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Bring what the store has newer, or this folder lacks; wanted: of which files.

        Unfinished work on the very version that the store has is kept: a stage goes on with it. On an older one it goes. What
        somebody changed here is kept, or refused with a UserError where it was changed in the store as well.
        """
        record, here = self.record(), listing(self.path)
        if record is not None and record.version and not version.name:
            record = None  # the store has lost the clip: what is here is all that is left of it
        is_newest = record is not None and record.version == version.name
        if record is not None and record.at_work and is_newest:
            return
        files = {name: one for name, one in version.manifest.files.items() if wanted(name)}
        own = set() if record is not None and record.at_work else self._own(record, here)
        self._refuse_in_the_way(own, [*files, *filter(wanted, version.manifest.empty)], files)
        if not is_newest:
            self._refuse_both(own & files.keys(), version.manifest)
        missing = {name: one for name, one in files.items() if name not in own and here.get(name) != one.state}
        missing = {name: one for name, one in missing.items() if not self._is_alike(name, one, here)}
        gone = [name for name in here if name not in version.manifest.files and name not in own]
        known = {} if record is None or not is_newest else record.files
        # Until all is there nothing here is anybody's own work.
        if missing or gone:
            self._write(Record(record.version if record else "", known, at_work=not is_newest))
        self._remove(gone)
        self._fetch(missing)
        for name in version.manifest.empty:
            if wanted(name):
                made_folder(self.path, name.split("/"))
        kept = {name: state for name, state in (record.files if record else {}).items() if name in version.manifest.files}
        self._write(Record(version.name, kept | {name: one.state for name, one in files.items()}))

    def begin(self) -> None:
        """Write down that a stage begins to work here."""
        self._write(replace(self.record() or Record(), at_work=True))

    def give(self, version: Version, claim: Claim) -> Version:
        """Take back what differs from a version of the store; returns the new one, or the same where nothing differs."""
        record, before = self.record() or Record(), version.manifest
        if before.files and not self.path.is_dir():
            raise StoreError(f"{self.path} has vanished: the store keeps what it has")
        now = scan(self.path, before)
        files = {name: one for name, one in before.files.items() if name not in record.files}  # never brought here
        for name, one in now.files.items():
            old = before.files.get(name)
            files[name] = old if old is not None and old.sha256 == one.sha256 else one
        empty = set(now.empty) | (set(before.empty) if len(files) > len(now.files) else set())
        after = Manifest(files, tuple(sorted(empty)))
        changed = after.files != before.files or after.empty != tuple(sorted(before.empty))
        if changed:
            version = self.area.commit(version, after, self.path, claim)
        self._write(Record(version.name, {name: one.state for name, one in now.files.items()}))
        return version

    def has_own(self) -> bool:
        """Whether something here is not as the store gave or got it, and no stage is at work on it."""
        record, here = self.record(), listing(self.path)
        if record is not None and record.at_work:
            return False
        lost = [] if record is None else [name for name in record.files if name not in here]
        return bool(self._own(record, here) or lost)

    def record(self) -> Record | None:
        """What is known of the folder; None where nothing is, it was removed, or that was of another store."""
        try:
            saved = read_json(self._record_path, largest=_LARGEST)
            files = {str(name): (int(size), int(time)) for name, (size, time) in saved["files"].items()}
            record = Record(str(saved["version"]), files, bool(saved["at_work"]))
            is_ours = bool(saved["area"] == self._area)
        except (UserError, KeyError, TypeError, ValueError, AttributeError):
            return None
        return record if is_ours and (self.path.is_dir() or not record.version) else None

    @property
    def _record_path(self) -> Path:
        return self.path.with_name(f".{short(self.path.name)}.store.json")

    @property
    def _area(self) -> str:
        return digest(str(self.area.remote.fs.protocol), self.area.remote.root)[:16]

    def _write(self, record: Record) -> None:
        saved: dict[str, Any] = {"area": self._area, "version": record.version, "at_work": record.at_work}
        write_json(self._record_path, saved | {"files": record.files})

    def _own(self, record: Record | None, here: dict[str, FileState]) -> set[str]:
        """Files that somebody made or changed here."""
        known = record.files if record is not None else {}
        return {name for name, state in here.items() if known.get(name) != state}

    def _refuse_both(self, names: set[str], manifest: Manifest) -> None:
        """UserError where a file differs here from the store's, and neither is known to be the older one."""
        differing = sorted(name for name in names if file_digest(self.path / name).hex() != manifest.files[name].sha256)
        if differing:
            raise UserError(
                f"{self.path}: {a_few(differing)} was made or changed here and is another one in the store: "
                "move the one here away, and run the same command again"
            )

    def _refuse_in_the_way(self, own: set[str], names: list[str], files: Mapping[str, Entry]) -> None:
        """UserError where a file of somebody here is a folder in the store, or lies in what is a file there."""
        folders = {folder for name in names for folder in (name, *_parents(name))} - files.keys()
        if clash := sorted(name for name in own if name in folders or _parents(name) & files.keys()):
            raise UserError(
                f"{self.path / clash[0]} was made here, and is or lies in what is the other in the store, a file or a folder: "
                "move the one here away, and run the same command again"
            )

    def _is_alike(self, name: str, entry: Entry, here: dict[str, FileState]) -> bool:
        """Whether a file differs in its time alone; it then gets the store's."""
        if name not in here or here[name][0] != entry.size or file_digest(self.path / name).hex() != entry.sha256:
            return False
        os.utime(self.path / name, ns=(entry.mtime_ns, entry.mtime_ns))
        return True

    def _fetch(self, files: dict[str, Entry]) -> None:
        """Bring files: all are copied first, and put in their places then."""
        if not files:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        fetch(self.area, files, self.path.parent, self.path.name, self._place)

    def _place(self, name: str) -> Path:
        return place(self.path, name)

    def _remove(self, names: list[str]) -> None:
        """Remove files, and folders that are left with nothing in them."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        for folder in sorted({parent for name in names for parent in Path(name).parents if parent.parts}, reverse=True):
            with contextlib.suppress(OSError):  # something is in it
                (self.path / folder).rmdir()


def _parents(name: str) -> set[str]:
    return {str(folder) for folder in PurePosixPath(name).parents}
