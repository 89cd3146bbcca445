"""The evaluate stage: measure a fit and an edit of it by the definitions in atlas/metrics, and say why numbers are missing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.evaluation.costs import costs_of
from atlas.evaluation.edit import measure_edit
from atlas.evaluation.learned import Learned
from atlas.evaluation.points import measure_points, points_of
from atlas.maps.maps import Maps, open_maps
from atlas.metrics.mapping import mapping_accuracy, open_truth
from atlas.options.evaluate import EvaluateOptions
from atlas.quality.series import measure_frames
from atlas.quality.summary import finite, known_quality, report_quality
from atlas.rendering.frames import Rendering
from atlas.rendering.settings import RenderSettings
from atlas.system.cost import read_costs
from atlas.system.parallel import beside


@holds_clip
def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Measure a fit and an edit; returns what is printed. A number that cannot be had is None, and `absent` says why.

    An edit of whole frames is measured without a fit where there is none: then there is no reconstruction. Frames stream:
    memory does not grow with the clip's length. UserError for an unknown fit or edit, and marked points that are none of
    the clip's.
    """
    clip = Clip.open(options.clip)
    with at_work(clip.folder, reads=[clip.edit_folder(options.edit)] if options.edit else [], wait=options.wait):
        fit = options.fit or ("default" if options.edit is None else Edit.open(clip, options.edit).fit)
        with at_work(clip.folder, reads=[clip.fit_folder(fit)], wait=options.wait):
            return _evaluate(options, clip, fit)


def _evaluate(options: EvaluateOptions, clip: Clip, fit: str) -> dict[str, Any]:
    """Measure a fit and an edit that are held for it."""
    rendering = None if options.edit is None else opened(options, options.edit)
    if rendering and rendering.maps and rendering.edit.fit != fit:
        raise UserError(f"edit {options.edit!r} stands on the fit {rendering.edit.fit!r}, not {fit!r}: leave out --fit")
    maps = _maps(options, clip, fit, rendering)
    if options.truth is not None and maps is None:
        raise UserError("--truth is compared with a fit, and whole frames were edited without one: leave it out")
    truth = None if options.truth is None or maps is None else open_truth(options.truth, maps)
    if options.points is not None and maps is None:
        raise UserError("--points are followed through a fit, and whole frames were edited without one: leave them out")
    marked = None if options.points is None else points_of(clip, options.points)

    options.check_weights(with_edit=rendering is not None)
    with beside(lambda: known_quality(clip, maps) if maps else None) as known:
        learned = Learned.open(options) if rendering else None
        quality = known()

    report: dict[str, Any] = {"clip": clip.name, "frames": clip.frames, "width": clip.width, "height": clip.height}
    report["fit"] = fit if maps else None
    if maps:
        quality = quality or _quality(clip, maps, quiet=options.quiet)
        report["reconstruction"], report["weaknesses"] = quality["reconstruction"], quality["weaknesses"]
    if maps and truth:
        report["truth"] = {layer: finite(asdict(accuracy)) for layer, accuracy in mapping_accuracy(maps, truth).items()}
    if maps and marked:
        report["points"] = measure_points(maps, marked)
    if rendering and learned:
        report["edit"] = measure_edit(rendering, learned, quiet=options.quiet)
        report["absent"] = report["edit"].pop("absent")
        if not maps:
            report["absent"]["reconstruction"] = "whole frames were edited without a fit"
    costs = read_costs(clip.folder)
    report["cost"] = {stage: costs[stage] for stage in ("prepare", f"fit {fit}") if stage in costs}
    if rendering:
        report["cost"] |= costs_of(costs, rendering.edit)
    return report


def _quality(clip: Clip, maps: Maps, *, quiet: bool) -> dict[str, Any]:
    """Measure and judge a fit anew."""
    series = measure_frames(clip, maps, quiet=quiet)
    weak = report_quality(maps.folder, clip, series, maps)
    return {"reconstruction": finite(series.averages()), "weaknesses": [finite(asdict(weakness)) for weakness in weak]}


def _maps(options: EvaluateOptions, clip: Clip, fit: str, rendering: Rendering | None) -> Maps | None:
    """Open the maps of the fit that is measured; None where whole frames were edited and nobody fitted the clip."""
    if rendering and rendering.maps:
        return rendering.maps
    fitted = (clip.fit_folder(fit) / "maps" / "maps.json").is_file()
    return None if rendering and options.fit is None and not fitted else open_maps(clip, fit)


def opened(options: EvaluateOptions, name: str) -> Rendering:
    """Open the edit of this name, ready to be rendered as the options say."""
    settings = RenderSettings(
        mode=options.mode, transfer=options.transfer, light=options.light, device=options.device, quiet=options.quiet
    )
    return Rendering.open(options.clip, name, settings)


def reconstruction(clip: Clip, maps: Maps, *, quiet: bool = True) -> dict[str, Any]:
    """Average PSNR, SSIM, folds, flow disagreement and mask IoU over the clip's frames, whole and per layer."""
    return measure_frames(clip, maps, quiet=quiet).averages()
