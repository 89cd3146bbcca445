"""Links: those in a clip's folder, which may come from anyone, lead nowhere outside of it; hard links stand in for copies."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from atlas.errors import UserError


def refuse_outward_links(folder: Path) -> None:
    """UserError where a link in a folder leads out of it, or something in it is no file, folder or link: a pipe, a device.

    The folder itself may be reached by a link, and links that stay inside are fine. Nothing is followed or opened.
    """
    root = os.path.realpath(folder)
    waiting = [root]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:  # half-made things come and go
            for entry in entries:
                if entry.is_symlink():
                    _refuse_outward(entry.path, root, folder)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    shown = folder / os.path.relpath(entry.path, root)
                    raise UserError(f"{shown} is no file but a pipe or a device, which a clip does not hold: remove it")


def refuse_lost_link(path: Path) -> None:
    """UserError where a path is a link to nothing: what is asked for must not be left out in silence."""
    if path.is_symlink() and not path.exists():
        raise UserError(
            f"{path} is a link to {os.readlink(path)}, which is not there: copy what it should lead to in its place"
        )


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link, which is not followed; nothing where nothing is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refuse_outward(link: str, root: str, folder: Path) -> None:
    target = os.path.realpath(link)
    if target != root and not target.startswith(os.path.join(root, "")):
        shown = folder / os.path.relpath(link, root)
        raise UserError(f"{shown} is a link out of {folder}, to {target}: copy what it leads to in its place")


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file under another name; copy it where the disk does not do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
