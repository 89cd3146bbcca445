"""Signatures: digests of what stages wrote into a folder, by which a later repainting by hand is noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atlas.storage.atomic import atomic_file
from atlas.storage.stamps import digest, digest_files, read_stamp, write_stamps


def signatures_in(folder: Path, name: str) -> list[str]:
    """Signatures that a folder's stamp has under a name: one, or of a run that was killed all that may be there; else none."""
    value = read_stamp(folder).get(name) or []
    return [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, str) and entry]


@dataclass(frozen=True)
class Signatures:
    """What was written to a folder's files and folders, in its stamp."""

    folder: Path

    def sign(self, path: Path) -> None:
        """Remember what a stage wrote to `path`, a file or folder."""
        write_stamps(self.folder, {self._name(path): digest(path)})

    def unsign(self, path: Path) -> None:
        """Forget what was written to `path`, before a stage removes it: a part of it is no repainted one."""
        if self._signed(path):
            write_stamps(self.folder, {self._name(path): ""})

    def expect(self, path: Path, *coming: str) -> None:
        """Remember what is about to be in the place of `path`, beside what is there: of a run killed in between either is ours.

        coming: the `digest` of it.
        """
        write_stamps(self.folder, {self._name(path): [*self._signed(path), *coming]})

    @contextmanager
    def file(self, path: Path) -> Iterator[Path]:
        """`atomic_file`, signed."""
        with atomic_file(path) as temporary:
            yield temporary
            self.expect(path, digest(temporary))
        self.sign(path)

    @contextmanager
    def file_within(self, folder: Path, path: Path, others: Mapping[str, Path]) -> Iterator[Path]:
        """`atomic_file` in a folder that is signed as a whole, by the caller; others: the files that are there."""
        with atomic_file(path) as temporary:
            yield temporary
            self.expect(folder, digest_files({**others, path.relative_to(folder).as_posix(): temporary}))

    def repainted(self, path: Path) -> bool:
        """Whether someone changed `path` since a stage wrote it."""
        signed = self._signed(path)
        return path.exists() and bool(signed) and digest(path) not in signed

    def _signed(self, path: Path) -> list[str]:
        """Digests that `path` has as a stage wrote it; none where that is not known."""
        return signatures_in(self.folder, self._name(path))

    def _name(self, path: Path) -> str:
        return f"wrote {path.relative_to(self.folder).as_posix()}"
