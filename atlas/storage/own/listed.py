"""Folders of pictures that list what was written into them, by which what somebody changed or added is known, and kept."""

from __future__ import annotations

from pathlib import Path

from atlas.errors import UserError
from atlas.storage.atomic import keep_others
from atlas.storage.own.others import NUMBERED, others, remove_but
from atlas.storage.stamps import contents, read_json, write_json

LIST = ".rendered"
"""Hidden file that lists, as `contents` does, what was written into a folder."""


def written(folder: Path) -> dict[str, str]:
    """What is listed as written into a folder; {} where nothing is, as older versions did."""
    try:
        listed = read_json(folder / LIST)
    except UserError:
        return {}
    return listed if isinstance(listed, dict) else {}


def changed(folder: Path) -> list[str]:
    """Names of the files in a folder that no stage wrote, or somebody changed since; without a list, by name alone."""
    listed, there = written(folder), contents(folder)
    foreign = [name for name in others(folder, NUMBERED) if name != LIST]
    return sorted({*foreign, *(name for name, entry in there.items() if listed and listed.get(name) != entry)})


def finish_listed(making: Path, folder: Path, *, named_by_user: bool = False) -> list[Path]:
    """List what was written into `making`, and take along into it what is somebody's own in the `folder` that it replaces.

    named_by_user: without a list the folder is not of an older version, all in it is theirs. Returns where those will be that
    have to give way to a picture of their name: below replaced/ there.
    """
    write_json(making / LIST, contents(making))
    strange = named_by_user and not (folder / LIST).is_file()
    return keep_others(folder, making, others(folder) if strange else changed(folder))


def remove_unchanged(folder: Path) -> None:
    """Remove a folder but for what somebody changed or added, with the list by which that is still known later."""
    kept = changed(folder)
    remove_but(folder, [*kept, LIST] if kept else [])
