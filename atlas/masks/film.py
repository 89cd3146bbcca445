"""Masks from a film: a video of which each frame is the mask of a frame of the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.masks.folder import layer_names
from atlas.masks.gaps import fill_gaps
from atlas.masks.given.layout import UNDERSTOOD
from atlas.masks.given.meaning import Meaning, understood
from atlas.masks.given.pictures import MaskPicture, film_picture
from atlas.storage.images import to_8_bit
from atlas.system.progress import Progress
from atlas.video.source import IMAGE_SUFFIXES, FrameSource, fit_image, open_source


@dataclass(frozen=True)
class MaskFilm:
    """Mask source: a film of masks, matched to a source's frames and understood."""

    film: FrameSource
    frames: Sequence[int]
    """The film's frame for each frame of the clip."""
    meaning: Meaning

    @classmethod
    def parse(cls, text: str, source: FrameSource, indices: list[int]) -> MaskFilm | None:
        """The masks in the film of that name; None for what is no file.

        UserError where it is a single picture, has another size or number of frames than the source, or is not understood.
        """
        path = Path(text)
        if not path.is_file():
            return None
        if path.suffix.lower() in IMAGE_SUFFIXES and source.frames > 1:
            raise UserError(f"{path} is one picture, the source has {source.frames} frames: give the folder of all masks")
        try:
            film = open_source(path)
        except UserError as problem:
            raise UserError(f"{path} is no film of masks: {UNDERSTOOD} ({problem})") from None
        if (film.width, film.height) != (source.width, source.height):
            sizes = f"{film.width}x{film.height}, the source is {source.width}x{source.height}"
            raise UserError(f"{path} is {sizes}: masks must have the size of the source's frames")
        frames = list(indices)
        if film.frames != source.frames:
            if film.frames != len(indices):
                taken = "" if len(indices) == source.frames else f", of which {len(indices)} are taken"
                raise UserError(
                    f"{path} has {film.frames} frames, {source.path} {source.frames}{taken}: give a mask for each frame"
                )
            frames = list(range(len(indices)))
        return cls(film, frames, understood(lambda: _pictures(film, sorted(set(frames))), str(path)))

    @property
    def layers(self) -> list[str]:
        """Names of the objects, front to back."""
        return layer_names(self.meaning.count)

    def masks(self, clip: Clip, *, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Decode the masks at the clip's size."""
        pictures = Progress(_pictures(self.film, self.frames), desc="masks", total=clip.frames, unit="frame", quiet=quiet)
        for picture in pictures:
            yield [fit_image(mask, (clip.width, clip.height)) for mask in self.meaning.each(picture)]

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Fill in masks that are empty between others, along the flow."""
        return {layer: fill_gaps(clip, layer, []) for layer in clip.objects}

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """The film."""
        return "film", [self.film.path]

    def remarks(self) -> list[str]:
        """What was understood."""
        return [f"{self.film.path} was understood as masks: {self.meaning.said}"]


def _pictures(film: FrameSource, frames: Sequence[int]) -> Iterator[MaskPicture]:
    return (film_picture(to_8_bit(frame)) for frame in film.read(frames))
