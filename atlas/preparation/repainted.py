"""Digests of the files that `prepare` wrote, against which repainted files are kept and damaged ones are made again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.atomic import set_aside
from atlas.storage.images import read_image
from atlas.storage.own.others import NUMBERED, others
from atlas.storage.pictures import WantedSize, picture_bytes
from atlas.storage.stamps import digest, read_json, write_json

FILES = "files.json"
_PICTURES = ("frames/", "masks/")
_PARTS = {
    "frames": NUMBERED,
    "masks": re.compile(rf"[^/]+/{NUMBERED.pattern}"),
    "flow": re.compile(r"(forward|backward)(_valid)?\.npy"),
}
"""The folders that are made, and the names of what is made there."""
_FLOW_OF = "flow of"
"""What stands in files.json beside the files: a digest of the frames that the flow was computed from."""


def record(clip: Clip, kept: dict[str, str]) -> None:
    """Write the digests of the clip's files. kept: of files that were repainted, as they were before."""
    digests = _digests(clip.folder)
    write_json(clip.folder / FILES, digests | {_FLOW_OF: _frames_of(digests)} | kept)


class Prepared:
    """The files in a clip's folder (which need not be there) against those that were written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = _read(folder)
        self.present = _digests(folder)

    def repainted(self) -> list[str]:
        """Frames and masks that someone changed or added, by their names in the folder; none where nothing is recorded."""
        changed = [name for name, value in self.present.items() if self.written.get(name, "") != value and self.written]
        return [name for name in changed if name.startswith(_PICTURES) and _is_image(self.folder / name)]

    def damaged(self, clip: Clip) -> Path | None:
        """The first file that is missing, cannot be used, or no longer belongs to the others; None where all are well."""
        for index in range(clip.frames):
            for layer in (None, *clip.objects):
                path = clip.frame_path(index) if layer is None else clip.mask_path(layer, index)
                name = path.relative_to(clip.folder).as_posix()
                if name in self.present and self.present[name] == self.written.get(name):
                    continue
                try:
                    _ = clip.frame(index) if layer is None else clip.mask(layer, index)
                except UserError:
                    return path
        for name, value in self.written.items():
            if name.startswith("flow/") and self.present.get(name) != value:
                return clip.folder / name
        if self.written and self.written.get(_FLOW_OF) != _frames_of(self.present):
            return clip.folder / "flow"
        return None

    def keep(self, making: Clip, start: str) -> dict[str, str]:
        """Copy what was repainted below `start` over what was just made; their digests as they were written.

        Nothing is copied whose size or name is not that of a file of the new clip.
        """
        kept = {}
        for name in self.repainted():
            target = making.folder / name
            if not name.startswith(start) or not target.is_file() or name not in self.written:
                continue
            if _is_frame(self.folder / name, WantedSize(making.height, making.width, "the clip is", "")):
                shutil.copyfile(self.folder / name, target)
                kept[name] = self.written[name]
        return kept

    def save_others(self, kept: dict[str, str]) -> list[Path]:
        """Move what was repainted and is not `kept`, and what else somebody put there, to the clip's replaced/; where it is."""
        added = [name for name in self.present if name not in self.written] if self.written else []
        foreign = [f"{part}/{name}" for part, ours in _PARTS.items() for name in others(self.folder / part, ours)]
        names = dict.fromkeys([*self.repainted(), *added, *foreign])
        return [set_aside(self.folder / name, self.folder) for name in names if name not in kept]


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for part in _PARTS for file in (folder / part).rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): digest(file) for file in files if not file.name.startswith(".")}


def _frames_of(digests: dict[str, str]) -> str:
    return digest({name: value for name, value in digests.items() if name.startswith("frames/")})


def _read(folder: Path) -> dict[str, str]:
    """What `record` wrote; {} in a clip that an older version made."""
    try:
        digests = read_json(folder / FILES)
    except UserError:
        return {}
    return digests if isinstance(digests, dict) else {}


def _is_image(path: Path) -> bool:
    """Whether a file is a picture, of whatever size: it is not decoded, as there may be any number of them."""
    try:
        picture_bytes(path)
    except UserError:
        return False
    return True


def _is_frame(path: Path, size: WantedSize) -> bool:
    """Whether a file is a readable picture of this size."""
    try:
        read_image(path, size=size)
    except UserError:
        return False
    return True
