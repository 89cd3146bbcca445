"""Places: what paths in a job file or on a command line mean, and whether they lead where a job file may lead."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import UserError
from atlas.system.terminal import in_one_line

FILES = {
    "masks",
    "segmenter",
    "detector",
    "model",
    "model_config",
    "vae",
    "controlnet",
    "textual_inversion",
    "lora",
    "ip_adapter",
    "depth_model",
    "clip_model",
    "dino_model",
}
"""Options whose text may name a file or folder, or something else: an id of the hub, a way to find masks."""


@dataclass(frozen=True)
class Places:
    """Where paths begin, and how far they may lead."""

    base: Path
    """Absolute: relative paths begin here."""
    reach: tuple[Path, ...] | None = None
    """Absolute: below which folders paths must lie; None: anywhere."""

    def path(self, path: Path, where: str) -> Path:
        """A path as an absolute one; UserError where it leads out of reach. where: file and entry, for the message."""
        # By its words: where a link in the user's own folder leads is the user's choice.
        made = Path(os.path.normpath(self.base / path))
        if self.reach is not None and not any(made.is_relative_to(folder) for folder in self.reach):
            shown = in_one_line(str(path))[:120]
            raise UserError(f"{where}: {shown} is out of the job file's reach: allow its folder with --reach")
        return made

    def text(self, text: str, where: str) -> str:
        """A text that may name a file: that one's absolute path where it does, also with `:SCALE` behind it; else as it is."""
        head, colon, tail = text.rpartition(":")
        for name, rest in ((text, ""), (head, colon + tail)):
            if name and os.path.lexists(self.base / name):
                return f"{self.path(Path(name), where)}{rest}"
        if Path(text).is_absolute() or ".." in Path(text).parts:
            self.path(Path(text), where)  # what leads to nothing is refused as well
        return text
