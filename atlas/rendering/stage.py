"""The render stage: from maps and edited atlases to a new video, a gather per frame, streamed, no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit, edit_names
from atlas.clip.signatures import signatures_in
from atlas.errors import UserError
from atlas.options.render import RenderOptions
from atlas.recolour.reach import beneath
from atlas.rendering.frames import Rendering
from atlas.rendering.output import Output, check_format, choose_output, shown
from atlas.rendering.settings import RenderSettings
from atlas.storage.atomic import set_aside
from atlas.storage.images import write_image
from atlas.storage.stamps import digest, is_up_to_date, read_stamp, write_stamps
from atlas.system.cost import measured
from atlas.system.decoration import decoration
from atlas.system.progress import Progress
from atlas.system.terminal import say
from atlas.video.sheet import contact_sheet, spread, thumbnail

_VERSION = 10  # raise it when the same input renders differently: what is on disk is then made again
_SHEET_FRAMES, _SHEET_SIDE = 6, 320


@holds_clip
def render(options: RenderOptions) -> str:
    """Render an edit of a clip; returns a line that says where the result is.

    UserError where the edit has neither an edited atlas nor all frames edited, where one of them has another size than it
    should, or where the fit has changed since the edit was made.
    """
    check_format(options.format, alpha=options.alpha, crf=options.crf)
    output = choose_output(
        Clip.open(options.clip),
        options.edit,
        options.format,
        alpha=options.alpha,
        crf=options.crf,
        path=options.output,
        force=options.force,
    )
    settings = RenderSettings(
        mode=options.mode,
        transfer=options.transfer,
        light=options.light,
        size=options.size,
        device=options.device,
        deep=output.deep,
        alone=output.alpha,
        quiet=options.quiet,
    )
    clip = Clip.open(options.clip)
    with at_work(clip.folder, reads=[clip.edit_folder(options.edit)], wait=options.wait):
        fit = clip.fit_folder(Edit.open(clip, options.edit).fit)
        with at_work(clip.folder, reads=[fit], writes=[output.path], wait=options.wait):
            return _render(options, output, settings)


def _render(options: RenderOptions, output: Output, settings: RenderSettings) -> str:
    """Render an edit that is held for it."""
    rendering = Rendering.open(options.clip, options.edit, settings)
    clip, folder, result = rendering.clip, rendering.edit.folder, output.path
    stage = f"render {result.name}" if options.output is None else f"render {result.absolute()}"
    made_from = digest(_VERSION, rendering.made_from(), options.crf)
    written = _Written(clip, rendering.edit, stage)
    if is_up_to_date(folder, made_from, stage) and output.signature() in written.signatures(rendering.edit.name):
        return f"{result}: up to date"
    written.make_room(output, options)
    with measured(clip.folder, f"render {options.edit}") as cost:
        sheet = _Sheet(clip.frames)
        progress = Progress(rendering.frames(), total=clip.frames, desc="render", unit="frame", quiet=options.quiet)
        output.write(sheet.watch(progress), clip, written.expect)
        with decoration(str(folder / "sheet.png")):
            write_image(folder / "sheet.png", sheet.image(rendering))
        rate = clip.frames / rendering.seconds
        cost |= {"frames": clip.frames, "width": rendering.width, "height": rendering.height}
        cost |= {"frames_per_second": round(rate, 1)}
    write_stamps(folder, {stage: made_from, written.name: output.signature()})
    return f"{result}: {clip.frames} frames of {rendering.width}x{rendering.height}, rendered at {rate:.0f} frames per second"


@dataclass(frozen=True)
class _Written:
    """What was rendered to an output, by its signatures in the stamps of the clip's edits."""

    clip: Clip
    edit: Edit
    stage: str

    @property
    def name(self) -> str:
        """What stands for it in a stamp."""
        return f"wrote {self.stage}"

    def signatures(self, edit: str) -> list[str]:
        """Of what an edit was rendered to, the last time, or by a run that died then."""
        return signatures_in(self.clip.edit_folder(edit), self.name)

    def expect(self, signature: str) -> None:
        """Know what is about to be there, beside what is."""
        write_stamps(self.edit.folder, {self.name: [*self.signatures(self.edit.name), signature]})

    def make_room(self, output: Output, options: RenderOptions) -> None:
        """Set a film aside that somebody put in the place of ours; UserError where it is not in the edit's own folder."""
        there, stamps = output.path, read_stamp(self.edit.folder)
        if not there.is_file() or options.force or (self.stage in stamps and self.name not in stamps):  # of an older version
            return
        if output.signature() in [entry for name in edit_names(self.clip) for entry in self.signatures(name)]:
            return
        if options.output is not None:
            raise UserError(
                f"{there} was not rendered from {self.clip.folder}: choose another --output, or --force to replace it"
            )
        say(f"{there} was not rendered here: kept as {set_aside(there, self.edit.folder)}")


class _Sheet:
    """Keeps small copies of a few frames as they stream by."""

    def __init__(self, frames: int) -> None:
        self.wanted = set(spread(frames, _SHEET_FRAMES))
        self.columns: list[tuple[str, list[np.ndarray]]] = []

    def watch(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
        for index, (source, result) in enumerate(pairs):
            if index in self.wanted:
                self.columns.append((str(index), [thumbnail(shown(image), _SHEET_SIDE) for image in (source, result)]))
            yield result

    def image(self, rendering: Rendering) -> np.ndarray:
        """Draw them, and beneath how far the edit of each layer reaches."""
        frames = {index: rendering.clip.frame(index) for index in sorted(self.wanted)}
        return beneath([contact_sheet(self.columns), *(reach.picture(frames, _SHEET_SIDE) for reach in rendering.reached())])
