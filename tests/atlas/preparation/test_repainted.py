"""What somebody repainted in a clip, or laid beside it, is kept or set aside when the clip is prepared again."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.storage.images import read_image, write_image
from tests.atlas.preparation.shots import mask, run, view


def test_a_repainted_mask_stays_and_is_told(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the clip has to be made again, and then it counts in all that is made of it."""
    clip = run(shots, tmp_path / "clip", tmp_path / "masks")
    painted = np.zeros_like(mask(3))
    painted[:20, :20] = 255
    write_image(clip.mask_path("foreground", 3), painted)
    for _ in range(2):
        capsys.readouterr()
        again = run(shots, clip.folder, tmp_path / "masks")
        said = capsys.readouterr().out
        assert "kept: masks/foreground/00003.png" in said
        assert (again.mask("foreground", 3) == painted).all() and (again.frame(2) == view(2)).all()
        clip.frame_path(2).write_bytes(b"damaged")
    clip.mask_path("foreground", 3).unlink()
    assert (run(shots, clip.folder, tmp_path / "masks").mask("foreground", 3) == mask(3)).all()


def test_files_of_somebodys_own_among_the_frames_move_aside(shots: Path, tmp_path: Path) -> None:
    clip = run(shots, tmp_path / "clip", tmp_path / "masks").folder
    mine = ("frames/notes.txt", "frames/.hidden", "masks/foreground/sketch/1.png", "flow/arrows.svg", "masks/.todo")
    for name in mine:
        (clip / name).parent.mkdir(exist_ok=True)
        (clip / name).write_text("mine")
    (clip / "frames" / ".DS_Store").touch()
    (clip / "frames" / "00001.png").unlink()
    run(shots, clip, tmp_path / "masks")
    assert [(clip / "replaced" / name).read_text() for name in mine] == ["mine"] * len(mine)
    assert len([path for path in (clip / "replaced").rglob("*") if path.is_file()]) == len(mine)
    assert not list(clip.glob(".lease*"))


def test_the_flow_follows_a_repainted_frame(shots: Path, tmp_path: Path) -> None:
    clip = run(shots, tmp_path / "clip", tmp_path / "masks")
    before = clip.flow("forward")[2]
    write_image(clip.frame_path(3), np.roll(view(3), 3, 1))
    clip = run(shots, tmp_path / "clip", tmp_path / "masks")
    assert (clip.frame(3) == np.roll(view(3), 3, 1)).all()
    assert np.median(clip.flow("forward")[2][..., 0].astype(float) - before[..., 0]) > 2


def test_repainted_masks_are_set_aside_for_another_clip(
    shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = run(shots, tmp_path / "clip", tmp_path / "masks")
    write_image(clip.mask_path("foreground", 3), mask(0))
    write_image(clip.folder / "masks" / "foreground" / "before.png", mask(1))
    run(shots, clip.folder, tmp_path / "masks", start=1)
    assert "replaced/masks/foreground/00003.png" in capsys.readouterr().out
    assert (read_image(clip.folder / "replaced" / "masks" / "foreground" / "00003.png")[..., 0] == mask(0)).all()
    assert (read_image(clip.folder / "replaced" / "masks" / "foreground" / "before.png")[..., 0] == mask(1)).all()
    assert (Clip.open(clip.folder).mask("foreground", 3) == mask(4)).all()


def test_pictures_of_another_size_are_set_aside_without_being_decoded(shots: Path, tmp_path: Path) -> None:
    """There may be any number of them, in a clip of somebody else's, each as large as a picture may be."""
    clip = run(shots, tmp_path / "clip", tmp_path / "masks")
    write_image(tmp_path / "large.png", np.zeros((8000, 8000, 3), np.uint8))
    for number in range(10):
        shutil.copy(tmp_path / "large.png", clip.folder / "frames" / f"large{number}.png")
    began = time.process_time()
    run(shots, clip.folder, tmp_path / "masks", start=1)
    assert time.process_time() - began < 3
    assert (clip.folder / "replaced" / "frames" / "large2.png").is_file()
