"""Sources: what tasks read from outside of their clips (films, masks, models), kept in the store by their paths.

They are brought to the very paths that commands name, where nothing is there: what lies there already must be the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import UserError
from atlas.storage.digests.files import file_digest
from atlas.storage.lease.lease import writing
from atlas.storage.lease.remnants import is_of_program
from atlas.storage.stamps import digest
from scripts.plans.store.area import Area
from scripts.plans.store.disk import entry_of, fetch, place
from scripts.plans.store.manifest import Entry, Manifest
from scripts.plans.store.remote import Remote


@dataclass(frozen=True)
class Source:
    """A file or a folder at the same path on every machine."""

    path: Path
    is_file: bool

    @property
    def root(self) -> Path:
        """The folder in which the names of its manifest are."""
        return self.path.parent if self.is_file else self.path

    def area(self, remote: Remote) -> Area:
        """Where it is kept."""
        return Area(remote.below(f"sources/{digest(str(self.path), self.is_file)[:16]}"), str(self.path))

    def give(self, remote: Remote) -> None:
        """Put it into the store, unless it is there; what has the size and time of a file there is not read again."""
        area = self.area(remote)
        before = area.newest()
        if self._scan(before.manifest) == before.manifest:
            return
        with area.claim().held() as claim:
            before = area.newest()
            area.commit(before, self._scan(before.manifest), self.root, claim)

    def bring(self, remote: Remote) -> None:
        """Bring it to its path, unless it is there; UserError where something else is, or the store does not have it."""
        area = self.area(remote)
        manifest = area.newest().manifest
        if not manifest.files or (self.is_file and set(manifest.files) != {self.path.name}):
            raise UserError(f"{self.path} is not in the store: run the batch or the sweep again where it lies")
        if not self._missing(manifest):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with writing(self.path, wait=True):  # several stages here may need it
            missing = self._missing(manifest)
            self.root.mkdir(exist_ok=True)
            fetch(area, missing, self.path.parent, self.path.name, lambda name: place(self.root, name))

    def _missing(self, manifest: Manifest) -> dict[str, Entry]:
        """What is not here; UserError where something is here that is not the store's."""
        here = dict(self._files()) if self.path.exists() else {}
        differing = [name for name, path in here.items() if not _is_same(path, manifest.files.get(name))]
        if differing:
            raise UserError(
                f"{self.root / differing[0]} on this machine is not what {self.path} is in the store: "
                "move it away, or let the machines see the same file"
            )
        return {name: one for name, one in manifest.files.items() if name not in here}

    def _scan(self, known: Manifest) -> Manifest:
        return Manifest({name: entry_of(path, path.stat(), known.files.get(name)) for name, path in self._files()})

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Its files; links to files are taken for those: they are the user's, and the hub's cache is made of them."""
        if self.is_file:
            yield self.path.name, self.path
            return
        for root, folders, names in os.walk(self.path):
            for name in sorted(names):
                path = Path(root, name)
                if path.is_file() and not is_of_program(name):
                    yield path.relative_to(self.path).as_posix(), path
            if links := [name for name in folders if Path(root, name).is_symlink()]:
                raise UserError(
                    f"{Path(root, links[0])} is a link to a folder, which a store does not hold: copy it in its place"
                )


def _is_same(path: Path, entry: Entry | None) -> bool:
    if entry is None:
        return False
    about = path.stat()
    return about.st_size == entry.size and (about.st_mtime_ns == entry.mtime_ns or file_digest(path).hex() == entry.sha256)
