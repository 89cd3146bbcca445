"""Remote files of a store, by names below its URL: put, get, list and remove, with whatever fsspec speaks."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from atlas.errors import UserError, one_line
from atlas.system.terminal import in_one_line

_PIECE = 1 << 26  # bytes that are in memory at once
_SECRET = re.compile(r"://[^@]*:[^@]*@|[?#]")
_DISKS = ("file", "local")
_INSTALL = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "sftp": "paramiko"}


class StoreError(Exception):
    """A store did not do what was asked: network, rights, space. Nothing has been half-written that counts."""


@dataclass
class Traffic:
    """Requests and bytes of one process."""

    puts: int = 0
    gets: int = 0
    lists: int = 0
    removals: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    lock: Any = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        """Count, from any thread."""
        with self.lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def figures(self) -> dict[str, int]:
        """As JSON has them."""
        return {name: value for name, value in vars(self).items() if name != "lock"}


@dataclass(frozen=True)
class Remote:
    """A folder of a store. Every method raises StoreError where the store fails."""

    fs: Any
    """File system of fsspec."""
    root: str
    traffic: Traffic = field(default_factory=Traffic)

    @classmethod
    def open(cls, url: str) -> Remote:
        """Open a store by its URL; UserError where the URL is none, holds a secret, or its package is missing."""
        shown = checked_url(url)
        try:
            import fsspec
        except ImportError:
            raise UserError("--store needs fsspec: pip install layered-atlas[cluster]") from None
        scheme = urlsplit(url).scheme
        try:
            keywords = {"auto_mkdir": True} if scheme in _DISKS else {}
            fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **keywords)
        except ImportError as problem:
            package = _INSTALL.get(scheme)
            missing = f"pip install {package}" if package else in_one_line(one_line(problem))
            raise UserError(f"--store {shown} needs a package: {missing}") from None
        except Exception as problem:  # each file system has errors of its own
            raise UserError(f"--store {shown} cannot be opened: {in_one_line(one_line(problem))}") from None
        if scheme in _DISKS and not Path(root).is_dir():  # a disk that is not mounted must not look like an empty store
            raise UserError(f"--store {shown}: there is no such folder on this machine: make it, or mount its disk")
        return cls(fs, root.rstrip("/"))

    def below(self, name: str) -> Remote:
        """A folder below this one, counted together with it."""
        return Remote(self.fs, self._path(name), self.traffic)

    def put(self, name: str, data: bytes) -> None:
        """Write a file. Some file systems leave a part of it where this is killed: whoever reads has to tell."""
        with self._told(name):
            self._with_folder(name, lambda: self.fs.pipe_file(self._path(name), data))
        self.traffic.add(puts=1, bytes_up=len(data))

    def put_file(self, name: str, path: Path, size: int, sha256: str) -> None:
        """Write a file of this machine, which must still be the one of that size and digest."""
        if size <= _PIECE:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise StoreError(f"{path} was changed while it was taken to the store")
            self.put(name, data)
            return
        with self._told(name):
            self._with_folder(name, lambda: self.fs.put_file(str(path), self._path(name)))
        self.traffic.add(puts=1, bytes_up=size)

    def get(self, name: str, most: int) -> bytes | None:
        """Read a file of at most so many bytes; None where there is none."""
        with self._told(name):
            try:
                data = bytes(self.fs.cat_file(self._path(name)) if most > _PIECE else self._piece(name, 0, most + 1))
            except (FileNotFoundError, NotADirectoryError):
                data = None
        self.traffic.add(gets=1, bytes_down=len(data or b""))
        if data is not None and len(data) > most:
            raise StoreError(f"{name} in the store has more than {most} bytes")
        return data

    def get_file(self, name: str, path: Path, size: int, sha256: str) -> None:
        """Read a file into one of this machine; StoreError where it is missing, or not of that size and digest."""
        total, read = hashlib.sha256(), 0
        with path.open("wb") as stream, self._told(name):
            while read < size:
                piece = bytes(self._piece(name, read, min(read + _PIECE, size)))
                self.traffic.add(gets=1, bytes_down=len(piece))
                if not piece:
                    break
                total.update(piece)
                stream.write(piece)
                read += len(piece)
        if read != size or total.hexdigest() != sha256:
            raise StoreError(f"{name} in the store is damaged: it is not what its name says")

    def names(self, folder: str) -> list[str]:
        """Names of what lies in a folder; none where there is no such folder."""
        path = self._path(folder)
        with self._told(folder):
            self.fs.invalidate_cache()
            try:
                paths = self.fs.ls(path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                paths = []
        self.traffic.add(lists=1 + len(paths) // 1000)
        return sorted(str(one).rstrip("/").rpartition("/")[2] for one in paths if str(one).rstrip("/") != path)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._told(name), contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self._path(name))
        self.traffic.add(removals=1)

    def check(self, shown: str) -> None:
        """UserError where nothing can be written here, listed, read again and removed."""
        name, data = f"probes/{secrets.token_hex(8)}", b"probe"
        try:
            self.put(name, data)
            is_right = self.get(name, 100) == data and name.partition("/")[2] in self.names("probes")
            self.remove(name)
        except StoreError as problem:
            raise UserError(f"--store {shown} cannot be used: {problem}") from None
        if not is_right:
            raise UserError(f"--store {shown} cannot be used: what is written there is not found again")

    def _piece(self, name: str, start: int, end: int) -> bytes:
        return bytes(self.fs.cat_file(self._path(name), start=start, end=end))

    def _with_folder(self, name: str, write: Any) -> None:
        try:
            write()
        except FileNotFoundError:  # stores of objects have no folders; disks and SFTP have
            self.fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            write()

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Errors of the file system as StoreErrors that say where."""
        try:
            yield
        except (StoreError, UserError):
            raise
        except Exception as problem:  # each file system has errors of its own
            raise StoreError(f"{name} in the store: {type(problem).__name__}: {in_one_line(one_line(problem))}") from problem


def checked_url(url: str) -> str:
    """A store's URL, fit to be shown; UserError, without the URL's secret, where it is none that machines can share."""
    scheme, colon, rest = url.partition("://")
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise UserError("--store takes a URL: s3://bucket/folder, gs://..., sftp://host/folder, file:///disk/folder")
    if _SECRET.search(url):
        raise UserError(
            f"--store {scheme}://...: the URL holds a password, a key or a token, which processes and logs would show: "
            "leave it out, and give it to the machines as the file system's own settings or environment"
        )
    if not url.isprintable() or any(letter.isspace() for letter in url):
        raise UserError(f"--store {scheme}://...: the URL holds blanks or control characters")
    if scheme == "memory":
        raise UserError("--store memory://: that is one process's memory, which no other machine sees")
    if scheme in _DISKS and not (rest.startswith("/") and rest.strip("/")):
        raise UserError(f"--store {url}: write {scheme}:// and the absolute path of a folder")
    if not rest.strip("/"):
        raise UserError(f"--store {url}: name a bucket or a host, and a folder")
    return url
