"""The sample clip on disk: as footage with its truth beside it, or at once as a prepared clip with a finished fit.

OUT/frames/00000.png     the footage
OUT/masks/00000.png      grey 0 / 255 for one object, palette by object number for two (as DAVIS has it)
OUT/truth/               maps and layers in the format of a fit: Maps(OUT / "truth") opens it
OUT/sample.json          how it was made
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from atlas.clip.clip import BACKGROUND, Clip, Source
from atlas.clip.writer import ClipWriter
from atlas.errors import UserError
from atlas.maps.maps import MapsWriter, write_atlas, write_light
from atlas.sample.scene import Sample, make_sample
from atlas.storage.atomic import atomic_file, atomic_folder, keep_others
from atlas.storage.images import write_image
from atlas.storage.lease.lease import writing
from atlas.storage.stamps import (
    digest,
    is_up_to_date,
    is_whole,
    own_files,
    read_stamp,
    write_json,
    write_stamp,
    write_whole_stamp,
)
from atlas.system.command import StageOptions
from atlas.system.progress import Progress

FPS = 24.0
_MADE_BY = 1  # raise it when make_sample's result changes: samples on disk are then built again
_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]  # DAVIS's first colours: background, object 1, object 2


@dataclass(kw_only=True)
class SampleOptions(StageOptions):
    """Build the sample clip from photographs that ship inside scikit-image."""

    out: tyro.conf.Positional[Path]
    """Folder to write: frames/, masks/ and truth/ (the known layers, mappings, opacities and light)."""
    frames: int = 32
    """Number of frames."""
    width: int = 480
    """Width in pixels."""
    height: int = 272
    """Height in pixels."""
    objects: int = 1
    """1: somebody walking through a garage; 2: and a cup of coffee that drifts past."""
    seed: int = 0
    """Changes the camera's shake, the walk and the light."""


def build_sample(options: SampleOptions) -> str:
    """Build the sample clip in `options.out`, unless it is there already. UserError where the folder holds something else."""
    with writing(options.out, wait=options.wait):
        return _built(options)


def _built(options: SampleOptions) -> str:
    out = options.out
    choices = {name: getattr(options, name) for name in ("frames", "width", "height", "objects", "seed")}
    made_from = digest(_MADE_BY, choices)
    if out.exists() and not (out.is_dir() and (read_stamp(out) or not any(out.iterdir()))):
        raise UserError(f"{out} exists and is no sample clip: choose a new folder")
    size = f"{options.frames} frames of {options.width}x{options.height}"
    if is_up_to_date(out, made_from) and is_whole(out):
        return f"{out}: {size}, up to date"
    start = time.perf_counter()
    write_sample(make_sample(**choices), out, made_from=made_from, choices=choices, quiet=options.quiet)
    return f"{out}: {size}, built in {time.perf_counter() - start:.1f} s"


def write_sample(
    sample: Sample, folder: Path, *, made_from: str = "", choices: dict[str, int] | None = None, quiet: bool = True
) -> None:
    """Write the sample as footage with masks and truth, replacing `folder` as a whole."""
    with atomic_folder(Path(folder)) as making:
        (making / "masks").mkdir()
        for i, frame in enumerate(Progress(sample.frames, desc="sample", unit="frame", quiet=quiet)):
            write_image(making / "frames" / f"{i:05d}.png", frame)
            _write_mask(making / "masks" / f"{i:05d}.png", [sample.masks(layer)[i] for layer in sample.objects])
        write_truth(sample, making / "truth")
        write_json(making / "sample.json", {"fps": FPS, "layers": sample.layers} | (choices or {}))
        write_whole_stamp(making, made_from or digest(_MADE_BY, [int(sample.frames.sum())]))
        keep_others(Path(folder), making, own_files(Path(folder)))


def _write_mask(path: Path, masks: list[np.ndarray]) -> None:
    if len(masks) == 1:
        write_image(path, masks[0])
        return
    numbers = np.zeros_like(masks[0])
    for number, mask in enumerate(masks, start=1):
        numbers[mask > 0] = number
    image = Image.fromarray(numbers)
    image.putpalette(_PALETTE)
    with atomic_file(path) as temporary:
        image.save(temporary, format="PNG")


def write_truth(sample: Sample, folder: Path) -> None:
    """Write the true maps and layers into `folder` in the format of a fit."""
    count, height, width = sample.frames.shape[:3]
    with MapsWriter(folder, sample.layers, count, height, width) as writer:
        for i in range(count):
            writer.append_frame(
                {layer: sample.uvs[layer][i] for layer in sample.layers},
                {layer: sample.opacities[layer][i] for layer in sample.layers},
            )
        for layer in sample.layers:
            write_light(folder, layer, sample.light_grids[layer])
            write_atlas(folder, layer, sample.atlases[layer])


def write_truth_fit(sample: Sample, clip: Clip, fit_name: str = "truth") -> Path:
    """Write the truth as a finished fit of a prepared clip: editing and rendering then need no fitting. Returns its folder."""
    folder = clip.fit_folder(fit_name)
    with atomic_folder(folder) as making:
        write_truth(sample, making)
        write_json(making / "config.json", {"version": 1, "preset": "truth"})
        write_stamp(making, digest(making / "maps", making / "layers"))
    return folder


def write_clip(sample: Sample, folder: Path) -> Clip:
    """Write the sample as a prepared clip (frames, masks, flow measured in the frames), replacing `folder`.

    Its source is its own folder of frames. Stages after `prepare` take it as one that `prepare` made.
    """
    folder = Path(folder).absolute()
    count, height, width = sample.frames.shape[:3]
    layers = [*sample.objects, BACKGROUND]
    with atomic_folder(folder) as making:
        source = Source(path=str(folder / "frames"), sha256="", width=width, height=height, indices=list(range(count)))
        writer = ClipWriter(Clip(making, folder.name, count, width, height, FPS, layers, source))
        writer.write_frames(sample.frames)
        writer.write_masks([sample.masks(layer)[i] for layer in sample.objects] for i in range(count))
        writer.write_flow()
        source.sha256 = digest(making / "frames")
        writer.finish()
        write_stamp(making, digest(making / "frames", making / "masks"))
    return Clip.open(folder)
