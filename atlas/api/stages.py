"""The stages as functions: the options of the commands are their keywords, the commands' own functions do the work."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from atlas.api.keywords import options_from, with_keywords_of
from atlas.api.things import Edit, Fit, opened, opened_edit
from atlas.clip.clip import Clip
from atlas.evaluation import stage as evaluation
from atlas.fitting import stage as fitting
from atlas.preparation import stage as preparation
from atlas.rendering import stage as rendering
from atlas.rendering.output import choose_output
from atlas.storage.atomic import atomic_folder
from atlas.storage.images import write_image
from atlas.storage.lease.lease import writing
from atlas.storage.own.others import NUMBERED


@with_keywords_of(preparation.PrepareOptions)
def prepare(
    source: Path | str | np.ndarray,
    clip: Path | str | None = None,
    *,
    masks: Path | str | np.ndarray = "auto",
    **options: Any,
) -> Clip:
    """Prepare a clip from a video, a folder of frames, or an array of frames (T, H, W, 3) uint8.

    masks: as `prepare.py --masks` takes them, or an array (T, H, W) uint8, 0 outside. Arrays are written beside the clip,
    to the folder CLIP-source, where the full size stays reachable. Further keywords: the fields of `PrepareOptions`.
    A clip's folder alone gets other masks: `prepare("clips/swan", masks="points:40:310,200,-20,30")` adds points to those that
    were given before.
    """
    folder = source if clip is None else clip
    if isinstance(folder, np.ndarray):
        raise TypeError("name the folder of the clip that is to be made of an array: prepare(array, folder)")
    kept = Path(folder).with_name(f"{Path(folder).name}-source")
    with ExitStack() as stack:
        if isinstance(source, np.ndarray) or isinstance(masks, np.ndarray):
            stack.enter_context(writing(kept, wait=bool(options.get("wait"))))
        if isinstance(source, np.ndarray):
            source = _written(source, kept / "frames")
        if isinstance(masks, np.ndarray):
            masks = _written(masks, kept / "masks")
        chosen = options_from(preparation.PrepareOptions, source=source, clip=clip, masks=str(masks), **options)
        return preparation.prepare(chosen)


@with_keywords_of(fitting.FitOptions)
def fit(clip: Clip | Path | str, **options: Any) -> Fit:
    """Fit a clip: decompose it into layers. Does nothing where the fit is up to date.

    Keywords: the fields of `FitOptions`, such as name, preset, seconds, seed.
    """
    clip = opened(clip)
    chosen = options_from(fitting.FitOptions, clip=clip.folder, **options)
    fitting.fit(chosen)
    return Fit(clip, chosen.name)


@with_keywords_of(rendering.RenderOptions)
def render(edited: Edit | Clip | Path | str, edit: str | None = None, **options: Any) -> Path:
    """Render an edit, or the edit of this name of a clip, to a film or a folder of images; returns its path.

    Keywords: the fields of `RenderOptions`, such as format, mode, size, output. `Edit.frames` gives arrays instead.
    """
    opened = opened_edit(edited, edit)
    chosen = options_from(rendering.RenderOptions, clip=opened.clip.folder, edit=opened.name, **options)
    rendering.render(chosen)
    output = choose_output(opened.clip, opened.name, chosen.format, alpha=chosen.alpha, crf=chosen.crf, path=chosen.output)
    return output.path


@with_keywords_of(evaluation.EvaluateOptions)
def evaluate(measured: Clip | Fit | Edit | Path | str, **options: Any) -> dict[str, Any]:
    """Evaluate a fit, or an edit and the fit that it stands on; returns all measures as `evaluate.py --json` prints them.

    A clip or its folder stands for its fit "default". Keywords: the fields of `EvaluateOptions`, such as truth.
    """
    named: dict[str, Any] = {}
    if isinstance(measured, Fit):
        named["fit"] = measured.name
    elif isinstance(measured, Edit):
        named["edit"] = measured.name
    clip = measured.clip if isinstance(measured, (Fit, Edit)) else opened(measured)
    return evaluation.evaluate(options_from(evaluation.EvaluateOptions, clip=clip.folder, **named, **options))


def _written(
    images: np.ndarray,  # (T, H, W) or (T, H, W, 3)
    folder: Path,
) -> Path:
    """Write an array as PNGs named by frame number, in place of what was there; returns the folder."""
    with atomic_folder(folder, NUMBERED) as making:
        for number, image in enumerate(images):
            write_image(making / f"{number:05d}.png", np.ascontiguousarray(image))
    return folder
