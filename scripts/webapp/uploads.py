"""Uploads: streamed to ROOT/uploads, bounded while they come, and checked as sources are before they get their name."""

from __future__ import annotations

import os
import shutil
import threading
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from atlas.clip.clip import is_name
from atlas.errors import UserError
from atlas.storage.atomic import atomic_file
from atlas.storage.pictures import picture_header
from atlas.video.source import IMAGE_SUFFIXES, open_source
from scripts.webapp.paths import below

FOLDER = "uploads"
LARGEST = 1 << 30
"""Bytes of an upload, if nobody says otherwise."""
FREE = 1 << 30
"""Bytes of the disk that uploads leave free."""
MOST = 4
"""Uploads that come in at once."""
VIDEO_SUFFIXES = {".mp4", ".mov", ".webm", ".gif", ".mkv", ".avi", ".m4v"}
_LOOK = 1 << 24  # bytes between two looks at what is free
_STEM = 80  # characters


class Uploads:
    """Takes uploads below a root, a few at once."""

    def __init__(self, root: Path, largest: int = LARGEST) -> None:
        self.root, self.largest = root, largest
        self._coming: set[Path] = set()
        self._lock = threading.Lock()

    def new_folder(self, name: str) -> Path:
        """Make an empty folder for frames, named after what it is on the other side; returns its path."""
        with self._lock:
            folder = self._free(below(self.root, f"{FOLDER}/{cleaned(name)}"))
            folder.mkdir(parents=True)
        return folder

    async def take(self, chunks: AsyncIterator[bytes], name: str, folder: str = "", length: int | None = None) -> Path:
        """Write what comes to uploads/[folder/]name; a film gets another name where that is taken. Returns the path.

        UserError where it is too large, is no video or image, or the disk has no room; nothing of it is left then.
        """
        name, suffix = cleaned(name), Path(name).suffix.lower()
        if suffix not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            known = ", ".join(sorted(one[1:] for one in VIDEO_SUFFIXES | IMAGE_SUFFIXES))
            raise UserError(f"{name} is neither a video nor an image: upload one of {known}")
        if suffix in IMAGE_SUFFIXES and not folder:
            raise UserError(f"{name} is one single frame: upload a video, or all frames as a folder")
        self._check_size(length or 0, name)
        self._check_disk(length or 0, name)
        with self._lock:
            if len(self._coming) >= MOST:
                raise UserError(f"{MOST} uploads are coming in: try again when one has ended")
            target = self._target(name, folder)
            self._coming.add(target)
        try:
            await self._write(chunks, target)
        finally:
            with self._lock:
                self._coming.discard(target)
        return target

    def _target(self, name: str, folder: str) -> Path:
        if not folder:
            return self._free(below(self.root, f"{FOLDER}/{name}"))
        target = below(self.root, f"{FOLDER}/{cleaned(folder)}/{name}")
        if not target.parent.is_dir():
            raise UserError(f"{FOLDER}/{folder} is not there: make a folder for the frames first")
        if target.exists() or target in self._coming:
            raise UserError(f"{FOLDER}/{folder} has a {name} already: upload to a new folder")
        return target

    def _free(self, path: Path) -> Path:
        """A path that nothing has yet, and no upload is about to take."""
        found, number = path, 1
        while os.path.lexists(found) or found in self._coming:
            number += 1
            found = path.with_name(f"{path.stem}-{number}{path.suffix}")
        return found

    async def _write(self, chunks: AsyncIterator[bytes], target: Path) -> None:
        written = looked = 0
        with atomic_file(target) as temporary:
            with temporary.open("wb") as stream:
                async for chunk in chunks:
                    written += len(chunk)
                    self._check_size(written, target.name)
                    if written - looked >= _LOOK:
                        looked = written
                        self._check_disk(0, target.name)
                    stream.write(chunk)
                stream.flush()
                await run_in_threadpool(os.fsync, stream.fileno())
            try:
                await run_in_threadpool(_check_content, temporary)
            except UserError as problem:
                raise UserError(str(problem).replace(str(temporary), target.name)) from None

    def _check_size(self, size: int, name: str) -> None:
        if size > self.largest:
            raise UserError(
                f"{name} is larger than the {self.largest >> 20} MB that an upload may have: copy it below the root"
            )

    def _check_disk(self, size: int, name: str) -> None:
        if shutil.disk_usage(self.root).free - size < FREE:
            raise UserError(f"{name} does not fit on the disk: free some space")


def cleaned(name: str) -> str:
    """The last part of a name from elsewhere, as a file's name here; UserError where nothing is left of it."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    shown = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in last)
    stem, dot, suffix = " ".join(shown.replace(":", " ").split()).rpartition(".")
    stem, suffix = (stem, suffix) if dot else (suffix, "")
    found = stem.strip(" .-")[:_STEM].rstrip(" .") + dot + suffix.strip()
    if not is_name(found):
        raise UserError(f"{name[:60]!r} cannot be a file's name here: rename it")
    return found


def _check_content(path: Path) -> None:
    """UserError where a file is no image or video that a clip can be made of."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        picture_header(path)
    else:
        open_source(path, most=2)
