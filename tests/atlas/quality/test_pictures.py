"""Pictures of a fit of any size and number of layers; where one cannot be drawn the others are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import BACKGROUND, Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.quality.pictures import write_pictures
from atlas.quality.series import FramesPass, measure_frames
from atlas.sample.files import write_clip, write_truth
from atlas.sample.scene import make_sample
from atlas.storage.images import read_image
from atlas.video.reading import probe


def test_a_tiny_clip_of_five_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = make_sample(frames=2, height=16, width=16, objects=1, seed=0)
    clip = write_clip(sample, tmp_path / "clip")
    names = [*(f"foreground-{number}" for number in range(1, 6)), BACKGROUND]
    layers = {name: getattr(sample, name) for name in ("uvs", "opacities", "light_grids", "atlases")}
    five = {kind: {name: of[sample.layers[name == BACKGROUND]] for name in names} for kind, of in layers.items()}
    five["light_grids"] = {name: grid[:, :2, :2] for name, grid in five["light_grids"].items()}
    write_truth(replace(sample, layers=names, **five), tmp_path / "fit")
    maps = Maps(tmp_path / "fit")
    (tmp_path / "out" / "sheet.png").mkdir(parents=True)  # in the way
    write_pictures(clip, FramesPass(clip, maps), maps, tmp_path / "out")
    assert "sheet.png could not be made, all else is there" in capsys.readouterr().err
    assert probe(tmp_path / "out" / "preview.mp4").frames == 2
    (tmp_path / "out" / "sheet.png").rmdir()
    write_pictures(clip, FramesPass(clip, maps), maps, tmp_path / "out")
    assert not capsys.readouterr().err and read_image(tmp_path / "out" / "sheet.png").shape[2] == 3


def test_frames_are_measured_whatever_becomes_of_their_pictures(sample_clip: Clip, tmp_path: Path) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    frames = FramesPass(sample_clip, maps, sample_clip.frame)
    assert next(frames).frame.shape == (sample_clip.height, sample_clip.width, 3)  # and nobody asks for the next one
    assert frames.finish().averages() == measure_frames(sample_clip, maps).averages()

    def damaged(t: int) -> np.ndarray:
        raise UserError(f"frame {t} is damaged")

    frames = FramesPass(sample_clip, maps, damaged)
    write_pictures(sample_clip, frames, maps, tmp_path)
    with pytest.raises(UserError, match="frame 0 is damaged"):
        frames.finish()
