"""The oracle edit, whose right answer is known: a colour map that can be applied to every frame.

A few keyframes are recoloured by a fixed colour map, given through the real stages (edit --editor images, aggregate,
render), and the result is compared with the same map applied to every frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.geometry.texture import Texture
from atlas.maps.compositing import composite_frame
from atlas.maps.maps import open_maps
from atlas.metrics import definitions as metrics
from atlas.metrics.mapping import open_truth
from atlas.options.render import Transfer
from atlas.rendering.frames import Rendering, RenderSettings
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.atomic import atomic_folder
from atlas.storage.images import read_image, to_float, to_uint8, write_image
from atlas.storage.own.others import NUMBERED
from atlas.storage.stamps import write_json
from atlas.system.command import StageOptions
from edit.editors import EditOptions
from edit.request.keyframes import listed
from edit.stage import edit
from scripts.benchmarks.clips import middles
from scripts.benchmarks.edits.colour_maps import COLOUR_MAPS, ColourMap, named_maps


@dataclass(kw_only=True)
class OracleOptions(StageOptions):
    """Recolour a few keyframes, edit the clip by them, and compare with the map applied to every frame."""

    clip: tyro.conf.Positional[Path]
    """Folder of a clip with masks and a finished fit."""
    layer: str | None = None
    """Layer to recolour, inside the clip's mask of it. Default: the first."""
    fit: str = "default"
    """Fit that the edit stands on."""
    keyframes: str = "3"
    """How many keyframes: the middle frames of as many equal parts of the clip. Or frame numbers, such as 0,12,24."""
    map: str = "orange"
    """Colour map, or several, separated by commas: orange, invert, rotate (the channels change places), hue (half a turn),
    paint (a bilateral filter and a tint), poster (four steps)."""
    method: Literal["network", "mean", "median"] = "network"
    """How keyframes are aggregated, as in scripts/aggregate.py."""
    colours: Literal["learned", "kept"] = "learned"
    """Whether the change of colours is learned from the keyframes, as in scripts/aggregate.py."""
    transfer: Transfer = "local"
    """What becomes of detail that the fit does not hold, as in scripts/render.py."""
    mode: Literal["delta", "full"] = "delta"
    """How the edit is rendered, as in scripts/render.py."""
    truth: Path | None = None
    """For the sample: its truth/ folder. The map then changes the true atlas; the right video is the true re-render."""
    json: bool = False
    """Print JSON instead of lines to read."""


@holds_clip
def oracle(options: OracleOptions) -> list[dict[str, Any]]:
    """Run the oracle edit by each colour map and measure it; each result also stands in oracle.json in its edit's folder.

    PSNR inside the mask, mean of dB over the frames that were not keyframes. UserError where the layer has no masks, and for
    a colour map that is unknown.
    """
    return [_oracle(options, name) for name in named_maps(options.map)]


def _oracle(options: OracleOptions, colour_map: str) -> dict[str, Any]:
    clip = Clip.open(options.clip)
    layer = options.layer or clip.layers[0]
    open_maps(clip, options.fit, layer)
    truth = _Truth(clip, layer, COLOUR_MAPS[colour_map], options.truth)
    keyframes = spread_keyframes(options.keyframes, clip.frames)
    # One layer of one fit to an edit: others would colour it too.
    parts = [colour_map, *([layer] if layer != clip.layers[0] else []), *([options.fit] if options.fit != "default" else [])]
    name = "-".join(["oracle", *parts])
    with at_work(clip.folder, writes=[clip.edit_folder(name)], reads=[clip.fit_folder(options.fit)], wait=options.wait):
        return _measured(options, clip, layer, truth, keyframes, colour_map, name)


def _measured(
    options: OracleOptions, clip: Clip, layer: str, truth: _Truth, keyframes: list[int], colour_map: str, name: str
) -> dict[str, Any]:
    """Make the edit, which is held for it, and compare it with the truth."""
    recoloured = clip.edit_folder(name) / "given"
    with atomic_folder(recoloured, NUMBERED) as folder:
        for index in keyframes:
            write_image(folder / f"{index:05d}.png", truth.frame(index))

    where, quiet = options.clip, options.quiet
    edit(EditOptions(clip=where, name=name, layer=layer, fit=options.fit, editor="images", images=recoloured, quiet=quiet))
    aggregate(AggregateOptions(clip=where, edit=name, method=options.method, colours=options.colours, quiet=quiet))
    render(RenderOptions(clip=where, edit=name, format="png", mode=options.mode, transfer=options.transfer, quiet=quiet))

    others = [index for index in range(clip.frames) if index not in keyframes and truth.mask(index).any()]
    if not others:
        raise UserError(f"{clip.folder}: {layer} is seen in no frame but the keyframes: choose fewer --keyframes")
    frames = clip.edit_folder(name) / "frames"
    scores = [metrics.psnr(read_image(frames / f"{i:05d}.png"), truth.frame(i), truth.mask(i)) for i in others]
    unedited = [metrics.psnr(clip.frame(i), truth.frame(i), truth.mask(i)) for i in others]
    settings = RenderSettings(mode=options.mode, transfer=options.transfer)
    result = {
        "edit": name,
        "layer": layer,
        "map": colour_map,
        "keyframes": keyframes,
        "frames": len(others),
        "psnr": metrics.average_db(scores),
        "psnr_min": min(min(scores), metrics.IDENTICAL_DB),
        "psnr_min_frame": others[scores.index(min(scores))],
        "no_edit_psnr": metrics.average_db(unedited),
        "per_frame": {str(i): round(min(score, metrics.IDENTICAL_DB), 3) for i, score in zip(others, scores, strict=True)},
        "made_from": Rendering.open(options.clip, name, settings).made_from(),
    }
    write_json(Edit.open(clip, name).oracle_path, result)
    return result


class _Truth:
    """The right video: the map applied to the layer's pixels, or to its true atlas."""

    def __init__(self, clip: Clip, layer: str, colour_map: ColourMap, folder: Path | None) -> None:
        self.clip, self.layer, self.colour_map = clip, layer, colour_map
        self.maps = open_truth(folder, clip) if folder else None
        if self.maps is None:
            if layer not in clip.objects:
                raise UserError(f"{clip.folder} has no masks of {layer}: choose one of {', '.join(clip.objects)}")
            return
        self.maps.check_layer(layer)
        colours = {name: self.maps.atlas(name)[..., :3] for name in self.maps.layers}
        colours[layer] = colour_map(colours[layer])
        self.textures = {name: Texture(image) for name, image in colours.items()}

    def frame(self, index: int) -> np.ndarray:
        """The right frame, (H, W, 3) uint8."""
        if self.maps is not None:
            return to_uint8(composite_frame(index, self.maps, self.textures))
        frame = self.clip.frame(index)
        return np.where(self.mask(index)[..., None], to_uint8(self.colour_map(to_float(frame))), frame)

    def mask(self, index: int) -> np.ndarray:
        """Where the layer is, (H, W) bool."""
        if self.maps is not None:
            return metrics.inside(self.maps.opacity(self.layer, index))
        return metrics.inside(self.clip.mask(self.layer, index))


def spread_keyframes(keyframes: str, frames: int) -> list[int]:
    """ "3": the middle frames of three equal parts of the clip; "0,12,24" (or "12,"): these."""
    if not keyframes.strip().isdecimal():
        return listed(keyframes, frames)
    count = int(keyframes)
    if not 0 < count < frames:
        raise UserError(f"--keyframes {count} of {frames} frames: choose from 1 to {frames - 1}")
    return middles(frames, count)


def printed(options: OracleOptions) -> dict[str, Any] | str:
    """Measure; the figures as JSON has them, or lines to read: of several maps, a list, or a table."""
    found = oracle(options)
    if options.json:
        return found[0] if len(found) == 1 else json.dumps(found, indent=2)
    first = found[0]
    keyframes = f"keyframes {', '.join(map(str, first['keyframes']))}"
    if len(found) == 1:
        lines = [
            f"{first['layer']} by the map {first['map']}, {keyframes}",
            f"PSNR inside the layer over the {first['frames']} other frames: {first['psnr']:.2f} dB",
            f"lowest: {first['psnr_min']:.2f} dB (frame {first['psnr_min_frame']})",
            f"no edit at all: {first['no_edit_psnr']:.2f} dB",
        ]
    else:
        lines = [
            f"{first['layer']}, {keyframes}: PSNR inside the layer over the {first['frames']} other frames, in dB",
            f"{'map':<8}{'mean':>8}{'lowest':>8}{'no edit':>9}",
        ]
        lines += [f"{one['map']:<8}{one['psnr']:>8.2f}{one['psnr_min']:>8.2f}{one['no_edit_psnr']:>9.2f}" for one in found]
    return "\n".join(lines)
