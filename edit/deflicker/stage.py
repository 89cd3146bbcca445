"""The deflicker stage: from an edit whose frames flicker to a new edit, on frames, whose frames agree."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.clip.edits import Edit
from atlas.errors import RENDER, UserError
from atlas.maps.maps import Maps, fit_identity, open_maps
from atlas.storage.images import to_float, write_image
from atlas.storage.stack import FrameStack
from atlas.storage.stamps import digest
from atlas.system.cost import measured
from atlas.system.device import choose_device
from atlas.system.progress import Progress
from edit.deflicker.flickering import Flickering, open_flickering
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.protocol import Deflicker, Guides
from edit.record import forget, is_done, record, replaced_when_done
from edit.request.request import EditRequest

_EDITOR = "deflicker"  # as edit.json names it: an edit of another editor is not replaced
_KEPT = 8  # frames of the source, and places where edits apply, that are kept: what agrees looks at neighbours


@dataclass
class DeflickerResult:
    """What the deflicker stage did."""

    clip: Clip
    edit: Edit
    way: str
    up_to_date: bool = False
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        layers = " and ".join("whole frames" if layer == WHOLE_FRAME else layer for layer in self.edit.layers)
        state = " (up to date)" if self.up_to_date else ""
        line = f"{layers}: {self.clip.frames} frames agree by {self.way}, in {self.edit.folder}{state}"
        return "\n".join([*self.notes, f"{line}; next: {RENDER} {self.clip.folder} --edit {self.edit.name}"])


@holds_clip
def deflicker(options: DeflickerOptions) -> DeflickerResult:
    """Make the frames of an edit agree, as a new edit on frames; the edit that they are of stays as it is.

    Layers that were edited on every frame are deflickered each for itself, their alpha kept; any other edit as it is
    rendered. Everything is checked before anything is written. Where nothing changed nothing is done, so that frames
    repainted by hand stay; where a changed request replaces them they move to the edit's replaced/. Raises UserError for an
    unknown edit, missing frames, the name of an edit that was made otherwise, and a way that needs a fit where there is none.
    """
    clip, written = Clip.open(options.clip), options.new_name
    writes, reads = [clip.edit_folder(written)], [clip.edit_folder(options.edit)]
    if options.edit == written:  # refused below
        writes, reads = [], []
    with at_work(clip.folder, writes=writes, reads=reads, wait=options.wait):
        fit = Edit.open(clip, options.edit).fit if options.fit is None else options.fit
        with at_work(clip.folder, reads=[clip.fit_folder(fit)], wait=options.wait):
            return _deflicker(_Job.of(options), options.way)


def _deflicker(job: _Job, way: str) -> DeflickerResult:
    """Deflicker an edit that is held for it."""
    layers = [frames.layer for frames in job.flickering]
    numbers = list(range(job.clip.frames))
    result = DeflickerResult(job.clip, job.entry, way)
    result.up_to_date = job.entry.layers.keys() == set(layers) and all(
        is_done(job.entry, frames.layer, job.made_from(frames), [job.entry.keyframe_path(frames.layer, i) for i in numbers])
        for frames in job.flickering
    )
    if not result.up_to_date:
        with measured(job.clip.folder, f"deflicker {job.entry.name}") as cost, ExitStack() as stack:
            for frames in job.flickering:  # what was there is replaced when all layers are done
                job.write(
                    frames, stack.enter_context(replaced_when_done(job.entry, frames.layer, result.notes, in_place=False))
                )
            cost.update(frames=job.clip.frames, width=job.clip.width, height=job.clip.height)
        for layer in job.entry.layers.keys() - set(layers):
            forget(job.entry, layer, result.notes)
        job.entry.layers = {}
    for frames in job.flickering:
        layer = frames.layer
        if not result.up_to_date:
            job.entry.sign_frames(layer, job.identity(layer))
        record(job.entry, layer, job.request(layer), numbers, job.made_from(frames), result.up_to_date)
    return result


@dataclass
class _Job:
    """What is deflickered, by what, and where the result is kept."""

    clip: Clip
    edited: Edit
    flickering: list[Flickering]
    entry: Edit
    way: Deflicker
    maps: Maps | None
    device: torch.device
    quiet: bool

    @classmethod
    def of(cls, options: DeflickerOptions) -> _Job:
        """Open and check all that the options name."""
        way, clip = options.chosen(), Clip.open(options.clip)
        edited = Edit.open(clip, options.edit)
        fit = edited.fit if options.fit is None else options.fit
        entry = _new_edit(clip, edited, options.new_name, fit)
        flickering = open_flickering(clip, edited, options.device)
        of_layers = any(frames.layer != WHOLE_FRAME for frames in flickering)
        if of_layers and fit != edited.fit:
            raise UserError(f"the layers of {edited.folder} were cut out by the fit {edited.fit!r}: leave --fit {fit} out")
        needed = of_layers or way.needs_maps or options.fit is not None or options.start == "atlas"
        there = (clip.fit_folder(fit) / "maps" / "maps.json").is_file()
        maps = open_maps(clip, fit) if needed or (there and way.takes_maps) else None
        return cls(clip, edited, flickering, entry, way, maps, choose_device(options.device), options.quiet)

    def identity(self, layer: str) -> str:
        """Digest the fit that a layer was cut out by, or of whole frames the clip."""
        if layer == WHOLE_FRAME or self.maps is None:
            return self.clip.identity()
        return fit_identity(self.clip, self.maps, layer)

    def made_from(self, frames: Flickering) -> str:
        """Digest all that decides the result."""
        fits = [fit_identity(self.clip, self.maps, layer) for layer in self._layers(frames.layer)] if self.maps else []
        return digest(self.way.identity(), self.clip.identity(), fits, *frames.made_from())

    def request(self, layer: str) -> EditRequest:
        """What edit.json is to say: how it was deflickered, and by which prompt it was edited before."""
        own: dict[str, Any] = {_EDITOR: {**self.way.identity(), "edit": self.edited.name}}
        prompts = {self.edited.request(name).prompt for name in ([layer] if layer != WHOLE_FRAME else self.edited.layers)}
        if len(prompts) == 1 and (prompt := prompts.pop()):
            own["diffusion"] = {"prompt": prompt}
        return EditRequest(_EDITOR, own=own, target="frames")

    def write(self, frames: Flickering, folder: Path) -> None:
        """Write the frames of a layer to `folder` as they agree. A single frame stays as it is."""
        clip, cache = self.clip, self.entry.cache_folder(frames.layer)
        shape = (clip.frames, clip.height, clip.width, 3)
        with FrameStack(cache / "given.bin", shape) as given, FrameStack(cache / "agreed.bin", shape) as agreed:
            everywhere = frames.fill(given, quiet=self.quiet)
            if clip.frames > 1:
                guides = self._guides(frames, everywhere=everywhere)
                self.way.agree(given, guides, agreed, device=self.device, quiet=self.quiet)
            for index in Progress(range(clip.frames), "write", unit="frame", quiet=self.quiet):
                colour = (agreed if clip.frames > 1 else given)[index]
                write_image(folder / f"{index:05d}.png", frames.saved(index, colour))

    def _guides(self, frames: Flickering, *, everywhere: bool) -> Guides:
        return Guides(
            source=lru_cache(_KEPT)(lambda index: to_float(self.clip.frame(index))),
            maps=self.maps,
            layers=self._layers(frames.layer),
            applies=None if everywhere else lru_cache(_KEPT)(frames.applies),
            steady=True,
        )

    def _layers(self, layer: str) -> tuple[str, ...]:
        """The layers of the fit that `layer` stands for."""
        if layer != WHOLE_FRAME:
            return (layer,)
        return tuple(self.maps.layers) if self.maps else ()


def _new_edit(clip: Clip, edited: Edit, name: str, fit: str) -> Edit:
    """The edit that is made or made anew; UserError where another one has its name."""
    folder = clip.edit_folder(name)
    if name == edited.name:
        raise UserError(f"--name {name} is the edit itself, which stays as it is: choose another --name")
    if not (folder / "edit.json").is_file():
        return Edit(folder, name, fit)
    there = Edit.open(clip, name)
    if any(saved.get("editor") != _EDITOR for saved in there.layers.values()):
        raise UserError(f"{folder} is an edit that was not made by deflickering: choose another --name")
    return Edit(folder, name, fit, there.layers)
