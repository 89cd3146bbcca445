"""JSON files, digests, and the stamps that tell whether what a stage wrote is up to date."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.storage.atomic import atomic_file
from atlas.storage.digests.files import file_digest
from atlas.storage.json_text import LARGEST, parsed, read_bounded
from atlas.storage.lease.lease import writing
from atlas.storage.lease.remnants import being_filled
from atlas.storage.own.others import others

STAMP = "stamp.json"
_FILES = "files"
_QUICK = 1 << 26
"""Bytes of a file whose digest takes a fraction of a second."""


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    with atomic_file(path) as temporary:
        # Names of files that are no UTF-8 hold what UTF-8 cannot write: as escapes they come back as they were.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path, *, finite: bool = True, largest: int = LARGEST) -> Any:
    """Read a JSON file; UserError names the file where it is missing, broken, no file, or refused by `atlas.storage.json_text`.

    finite=False takes NaN and infinity, for files in which an unknown figure is one.
    """
    try:
        return parsed(read_bounded(path, largest), finite=finite)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing: run the stage that makes it") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a file: delete it and run its stage again") from None
    except ValueError as problem:  # what is wrong with JSON or its encoding, and a NUL in the path, are ValueErrors
        raise UserError(f"{path} is not valid JSON, it is damaged ({problem}): delete it and run its stage again") from None


def digest(*parts: Any) -> str:
    """SHA-256 of paths (a file's bytes; a folder's names and bytes) and of JSON-like values, in order."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            _add_files(total, dict(files_below(part)))
        else:
            total.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\0")
    return total.hexdigest()


def digest_files(files: Mapping[str, Path]) -> str:
    """What `digest` of a folder would be that holds these files, by their names within it."""
    total = hashlib.sha256()
    _add_files(total, files)
    return total.hexdigest()


def _add_files(total: hashlib._Hash, files: Mapping[str, Path]) -> None:
    total.update(b"\0path\0")  # a file that moves from one folder to the next must show
    for name, file in sorted(files.items(), key=lambda item: Path(item[0])):
        total.update(name.encode("utf-8", "surrogateescape") + b"\0" + file_digest(file))


def contents(path: Path) -> dict[str, str]:
    """Size of each file in a folder, by its name within it (or of a file, under ""), with a digest where that is quickly made.

    By it one sees later whether all is as it was written.
    """
    return {name: f"{file.stat().st_size}{_quick_digest(file)}" for name, file in files_below(path)}


def _quick_digest(file: Path) -> str:
    return f" {file_digest(file).hex()}" if file.stat().st_size <= _QUICK else ""


def files_below(path: Path) -> Iterable[tuple[str, Path]]:
    """The files of a folder that count, by their names within it, or a file under "": hidden ones do not."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        return [(file.relative_to(path).as_posix(), file) for file in files]
    return [("", path)] if path.is_file() else []


def read_versioned(path: Path, newest: int, kind: str, remedy: str) -> dict[str, Any]:
    """Read a JSON description that carries the version of its format; UserError where it carries none, or a newer one.

    newest: the version that this program writes. kind, remedy: "a clip's description" and what to do where it is none.
    """
    data = read_json(path)
    if not isinstance(data, dict) or type(data.get("version")) is not int:
        raise UserError(f"{path} is not {kind}: {remedy}")
    if data["version"] > newest:
        raise UserError(f"{path} has format version {data['version']}, this program reads up to {newest}: update the program")
    return data


def read_stamp(folder: Path) -> dict[str, Any]:
    """What the output in `folder` was made from ({} where nothing is stamped)."""
    try:
        stamp = read_json(folder / STAMP)
    except UserError:
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_up_to_date(folder: Path, made_from: str, stage: str = "made_from") -> bool:
    """Whether `folder` carries the stamp of exactly these inputs (a `digest`) for `stage`."""
    return read_stamp(folder).get(stage) == made_from


def write_stamp(folder: Path, made_from: str, stage: str = "made_from") -> None:
    """Record, as a stage's last act, what its output in `folder` was made from."""
    write_stamps(folder, {stage: made_from})


def write_stamps(folder: Path, stamps: Mapping[str, Any]) -> None:
    """Record several stamps, or what else stands beside them, at once; by name, as threads may come in any order."""
    with updating(folder / STAMP):
        write_json(folder / STAMP, dict(sorted((read_stamp(folder) | dict(stamps)).items())))


def write_whole_stamp(folder: Path, made_from: str) -> None:
    """Record what a folder that is complete was made from, and what it holds: see `is_whole`, `own_files`."""
    write_stamps(folder, {"made_from": made_from, _FILES: contents(folder)})


def is_whole(folder: Path) -> bool:
    """Whether all files are in a folder that were there when it was stamped, each as large as then."""
    written = read_stamp(folder).get(_FILES)
    if not isinstance(written, dict):
        return True  # stamped by an older version: nothing is known
    sizes = {name: str(file.stat().st_size) for name, file in files_below(folder)}
    return all(isinstance(entry, str) and sizes.get(name) == entry.partition(" ")[0] for name, entry in written.items())


def own_files(folder: Path) -> list[str]:
    """Names of the files in a folder that were not there when it was stamped: somebody's own."""
    written = read_stamp(folder).get(_FILES)
    if not isinstance(written, dict):
        return []  # stamped by an older version: nothing is known
    return [name for name in others(folder) if name != STAMP and name not in written]


def updating(path: Path) -> AbstractContextManager[None]:
    """Hold a file that several commands add to, for as long as it takes to read it and write it again."""
    return nullcontext() if being_filled(path) else writing(path, wait=True)
