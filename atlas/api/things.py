"""Fits and edits of a clip as objects that give arrays; opening one checks it as the commands do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atlas.clip import edits
from atlas.clip.clip import Clip
from atlas.maps.maps import open_maps
from atlas.rendering.frames import Rendering
from atlas.rendering.settings import RenderSettings
from atlas.storage.images import read_image, to_float


def opened(clip: Clip | Path | str) -> Clip:
    """Open a clip by its folder; a clip is returned as it is."""
    return clip if isinstance(clip, Clip) else Clip.open(Path(clip))


def opened_edit(edited: Edit | Clip | Path | str, name: str | None) -> Edit:
    """Open an edit by its clip and its name; an edit is returned as it is. TypeError where a clip comes without a name."""
    if isinstance(edited, Edit):
        return edited
    if name is None:
        raise TypeError("name the edit: give an atlas.Edit, or a clip and edit=NAME")
    return Edit(edited, name)


class Fit:
    """A finished fit of a clip. UserError where there is none of this name."""

    def __init__(self, clip: Clip | Path | str, name: str = "default") -> None:
        self.clip, self.name = opened(clip), name
        self.maps = open_maps(self.clip, name)
        self.folder = self.maps.folder

    def __repr__(self) -> str:
        return f"Fit({str(self.clip.folder)!r}, {self.name!r})"

    @property
    def layers(self) -> list[str]:
        """Names of the layers, front to back."""
        return self.maps.layers

    def atlas(self, layer: str) -> np.ndarray:  # (N, N, 4) float32
        """Read the atlas of a layer: RGB in [0, 1], alpha where it was ever seen."""
        self.maps.check_layer(layer)
        return self.maps.atlas(layer).copy()

    def uv(self, layer: str, t: int) -> np.ndarray:  # (H, W, 2) float32
        """Read the mapping of a layer in frame `t`: atlas coordinates in [-1, 1] of each pixel."""
        self.maps.check_layer(layer)
        return self.maps.uv(layer, t)

    def opacity(self, layer: str, t: int) -> np.ndarray:  # (H, W) float32
        """Read what one sees of a layer in frame `t`; the layers sum to 1."""
        self.maps.check_layer(layer)
        return self.maps.opacity(layer, t)

    def light(self, layer: str, t: int) -> np.ndarray:  # (H, W, 3) float32
        """Read the gain that turns atlas colours into those of frame `t`."""
        self.maps.check_layer(layer)
        return self.maps.light(layer, t)


class Edit:
    """An edit of a clip. UserError where there is none of this name."""

    def __init__(self, clip: Clip | Path | str, name: str) -> None:
        self.clip, self.name = opened(clip), name
        self.saved = edits.Edit.open(self.clip, name)
        self.folder = self.saved.folder

    def __repr__(self) -> str:
        return f"Edit({str(self.clip.folder)!r}, {self.name!r})"

    @property
    def layers(self) -> list[str]:
        """Names of the edited layers."""
        return list(self.saved.layers)

    @property
    def fit(self) -> Fit:
        """The fit that it stands on."""
        return Fit(self.clip, self.saved.fit)

    def keyframes(self, layer: str) -> dict[int, np.ndarray]:  # frame -> (H, W, 4) float32
        """Read the edited keyframes of a layer or of `all`, RGBA: all frames where all were edited, none of painted atlases."""
        self.clip.check_editable(layer)
        return {index: to_float(read_image(path, mode="rgba")) for index, path in self.saved.keyframes(layer).items()}

    def frames(self, **how: Any) -> Iterator[np.ndarray]:  # each (H, W, 3) uint8
        """Render the frames one after the other; memory does not grow with their number.

        how: mode, transfer, light, size and device, as `render.py` takes them; deep for uint16, alone for RGBA of the
        edited layers. UserError where nothing was aggregated yet, and not every frame edited.
        """
        return (result for _, result in Rendering.open(self.clip.folder, self.name, RenderSettings(**how)).frames())

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames()

    def __len__(self) -> int:
        return self.clip.frames
