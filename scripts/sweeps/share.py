"""Copy an edit under another name, so that what follows can be done in another way without editing again.

python -m scripts.sweeps.share CLIP --edit EDIT --name COPY
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import Clip, checked_name
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.storage.atomic import atomic_folder
from atlas.storage.stamps import STAMP
from atlas.system.command import StageOptions, run_command
from atlas.system.interrupt import end_at_once

_PARTS = ("keyframes", "made", "atlas", "reference", "keep", STAMP)
"""What later stages read of an edit; edit.json is written with the copy's own name."""


@dataclass(kw_only=True)
class ShareOptions(StageOptions):
    """Copy an edit under another name."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    edit: str
    """Edit to copy."""
    name: str
    """Name of the copy; what has it already is replaced."""


@holds_clip
def share(options: ShareOptions) -> str:
    """Copy an edit; UserError where there is none, or it would be copied onto itself."""
    clip = Clip.open(options.clip)
    if checked_name(options.name, "edit") == checked_name(options.edit, "edit"):
        raise UserError(f"{options.name!r} is the edit itself: give the copy another name")
    source, target = clip.edit_folder(options.edit), clip.edit_folder(options.name)
    with at_work(clip.folder, reads=[source], writes=[target], wait=options.wait):
        edit = Edit.open(clip, options.edit)
        with atomic_folder(target) as folder:
            for name in _PARTS:
                if (source / name).is_dir():
                    shutil.copytree(source / name, folder / name)
                elif (source / name).is_file():
                    shutil.copy2(source / name, folder / name)
            Edit(folder, options.name, edit.fit, edit.layers).save()
    return f"{options.edit} copied to {target}"


if __name__ == "__main__":
    end_at_once()
    run_command(ShareOptions, share)
