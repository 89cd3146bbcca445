"""The edit and deflicker stages as functions: the commands' options are their keywords, and arrays may stand for images."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from atlas.api.keywords import options_from, with_keywords_of
from atlas.api.things import Edit, opened, opened_edit
from atlas.clip.clip import Clip
from atlas.storage.images import write_image
from edit import stage
from edit.deflicker import stage as deflickering
from edit.deflicker.options import DeflickerOptions
from edit.editors import EditOptions

_OF_SEVERAL = 4  # axes of an array that holds several images


@with_keywords_of(EditOptions)
def edit(
    clip: Clip | Path | str,
    name: str,
    *,
    layer: str,
    editor: str,
    images: Path | str | Mapping[int, np.ndarray] | np.ndarray | None = None,
    image: Path | str | np.ndarray | None = None,
    keep: Path | str | np.ndarray | None = None,
    **options: Any,
) -> Edit:
    """Edit a layer of a clip, by keyframes, by its atlas, or on every frame; the same name adds another layer to an edit.

    images: with editor="images", a folder or edited frames by their numbers, each (H, W, 3 or 4), or all of them as one array
    (T, H, W, 3 or 4); image: with editor="atlas", a file or an array (N, N, 3 or 4); keep: a file or an array (N, N), white
    keeps the original. Arrays are uint8, uint16, or floats in [0, 1]. layer="all" with on="frames" edits whole frames.
    Further keywords: the fields of `EditOptions`, such as filter, prompt, keyframes, on.
    """
    clip = opened(clip)
    with tempfile.TemporaryDirectory() as folder:
        pictures = {"images": images, "image": image, "keep": keep}
        files = {option: _as_file(value, Path(folder) / option) for option, value in pictures.items() if value is not None}
        stage.edit(options_from(EditOptions, clip=clip.folder, name=name, layer=layer, editor=editor, **files, **options))
    return Edit(clip, name)


@with_keywords_of(DeflickerOptions)
def deflickered(edited: Edit | Clip | Path | str, edit: str | None = None, *, way: str = "atlas", **options: Any) -> Edit:
    """Make the frames of an edit agree, or of the edit of this name of a clip, as a new edit on frames; returns that.

    way: what `deflicker.py --with` takes. Further keywords: the fields of `DeflickerOptions`, such as name, window, robust.
    """
    opened = opened_edit(edited, edit)
    chosen = options_from(DeflickerOptions, clip=opened.clip.folder, edit=opened.name, way=way, **options)
    return Edit(opened.clip, deflickering.deflicker(chosen).edit.name)


def _as_file(value: Path | str | np.ndarray | Mapping[int, np.ndarray], place: Path) -> Path | str:
    """A path as it is; an array as a PNG, several as a folder of PNGs named by their numbers."""
    if isinstance(value, np.ndarray) and value.ndim == _OF_SEVERAL:
        value = dict(enumerate(value))
    if isinstance(value, np.ndarray):
        place = place.with_suffix(".png")
        write_image(place, np.ascontiguousarray(value))
    elif isinstance(value, Mapping):
        place.mkdir()
        for number, image in value.items():
            write_image(place / f"{number:05d}.png", np.ascontiguousarray(image))
    else:
        return value
    return place
