"""The files that are damaged: a tiny clip with a fit and an edit, and what users hand in beside it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

from aggregate.stage import AggregateOptions, aggregate
from atlas.fitting.stage import FitOptions, fit
from atlas.metrics.marked import COLUMNS
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.sample.files import write_sample
from atlas.sample.scene import make_sample
from atlas.storage.images import read_image, write_image
from atlas.storage.stamps import write_json
from edit.editors import EditOptions
from edit.stage import edit
from scripts.benchmarks.damage.models import models_run, save_models

FRAMES, HEIGHT, WIDTH = 4, 48, 64
EDIT, FIT = "red", "default"


def make_original(folder: Path) -> None:
    """Make `folder`: given/ holds what a user hands in, room/clip the clip with a fit and an edit."""
    given, clip = folder / "given", folder / "room" / "clip"
    _make_given(given)
    prepare(PrepareOptions(source=given / "frames", clip=clip, masks=str(given / "masks"), quiet=True))
    fit(FitOptions(clip=clip, preset="preview", iterations=2, device="cpu", quiet=True))
    made = EditOptions(clip=clip, name=EDIT, layer="foreground", fit=FIT, editor="filter", filter="invert", quiet=True)
    made.keyframes = "0,3"
    edit(made)
    aggregate(AggregateOptions(clip=clip, edit=EDIT, method="mean", device="cpu", quiet=True))


def _make_given(given: Path) -> None:
    sample = make_sample(frames=FRAMES, height=HEIGHT, width=WIDTH, objects=1, seed=0)
    write_sample(sample, given / "sample")
    for name in ("frames", "masks"):
        shutil.copytree(given / "sample" / name, given / name)
    shutil.rmtree(given / "sample")
    for index in (0, 3):
        write_image(given / "images" / f"{index:05d}.png", 255 - read_image(given / "frames" / f"{index:05d}.png"))
        people = [{"pose_keypoints_2d": [value for k in range(18) for value in (10 + 2 * k, 5 + 2 * k, 0.9)]}]
        write_json(given / "poses" / f"{index:05d}.json", {"people": people, "canvas_width": WIDTH, "canvas_height": HEIGHT})
    _make_flow(given / "flow")
    write_image(given / "painted.png", np.full((96, 96, 4), (255, 0, 0, 128), np.uint8))
    points = ["clip,64,48,0,10.5,40.5,2,10.5,40.5", "clip,64,48,1,50.5,8.5,3,50.5,8.5"]
    (given / "points.csv").write_text("\n".join([",".join(COLUMNS), *points]) + "\n", encoding="utf-8")
    if models_run():
        save_models(given / "models")
    _make_film(given / "film.mp4", given / "frames")


def _make_flow(folder: Path) -> None:
    """No motion, a step in each kind of file."""
    still = np.zeros((HEIGHT, WIDTH, 2), "<f4")
    folder.mkdir()
    (folder / "00000.flo").write_bytes(b"PIEH" + struct.pack("<ii", WIDTH, HEIGHT) + still.tobytes())
    np.save(folder / "00001.npy", still)
    write_image(folder / "00002.png", np.full((HEIGHT, WIDTH, 3), (1 << 15, 1 << 15, 1), np.uint16))


def _make_film(path: Path, frames: Path) -> None:
    """The frames as a film with sound."""
    inputs = [
        "-framerate",
        "8",
        "-i",
        str(frames / "%05d.png"),
        "-f",
        "lavfi",
        "-i",
        f"sine=frequency=440:duration={FRAMES / 8}",
    ]
    command = [get_ffmpeg_exe(), "-v", "error", "-nostdin", *inputs, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    subprocess.run([*command, str(path)], check=True)
