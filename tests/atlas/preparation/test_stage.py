"""prepare: a whole clip from small sources, and nothing left behind where the input is bad."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.stage import FitOptions, fit
from atlas.storage.images import read_image, write_image
from atlas.storage.stamps import write_json
from atlas.video.source import has_content
from atlas.video.writing import write_video
from tests.atlas.preparation.shots import FRAMES, HEIGHT, WIDTH, content, mask, run, view

ROOT = Path(__file__).resolve().parents[3]


def test_a_folder_with_masks(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(shots, tmp_path / "ä clip", tmp_path / "masks")
    assert "6 frames, 64x48, 24 fps" in capsys.readouterr().out
    clip = Clip.open(tmp_path / "ä clip")
    assert (clip.name, clip.frames, clip.width, clip.height, clip.fps) == ("ä clip", FRAMES, WIDTH, HEIGHT, 24)
    assert clip.layers == ["foreground", "background"] and clip.source.indices == list(range(FRAMES))
    assert (clip.frame(3) == view(3)).all() and (clip.mask("foreground", 3) == mask(3)).all()
    assert clip.flow("forward").shape == (FRAMES - 1, HEIGHT, WIDTH, 2)
    assert clip.flow_validity("backward").shape == (FRAMES - 1, HEIGHT, WIDTH)
    assert read_image(clip.folder / "masks.png").shape[2] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "shöts and more", "ä clip"]


def test_a_clip_without_masks_is_for_whole_frames(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = run(shots, tmp_path / "clip", "none")
    assert "--layer all" in capsys.readouterr().out
    assert clip.layers == ["background"] and clip.objects == [] and not (clip.folder / "masks.png").exists()
    assert (clip.selection("background", 2) == 1).all() and Clip.open(clip.folder).flow("forward").shape[0] == FRAMES - 1
    run(shots, tmp_path / "clip", "none")
    assert "up to date" in capsys.readouterr().out
    with pytest.raises(UserError, match="has no masks, there are no layers to part"):
        fit(FitOptions(clip=clip.folder, quiet=True))


def test_a_sheet_that_is_gone_is_drawn_anew(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = run(shots, tmp_path / "clip", tmp_path / "masks")
    before = content(clip.folder)
    (clip.folder / "masks.png").unlink()
    capsys.readouterr()
    run(shots, tmp_path / "clip", tmp_path / "masks")
    assert "up to date" in capsys.readouterr().out and content(clip.folder) == before


def test_again_is_up_to_date_and_another_option_is_not(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "clip"
    run(shots, clip, tmp_path / "masks")
    (clip / "fits" / "default").mkdir(parents=True)
    (clip / "fits" / "default" / "config.json").write_text("{}")
    first = content(clip)
    capsys.readouterr()
    run(shots, clip, tmp_path / "masks")
    assert "up to date" in capsys.readouterr().out and content(clip) == first
    run(shots, clip, tmp_path / "masks", start=2)
    assert Clip.open(clip).frames == FRAMES - 2 and not (clip / "frames" / "00005.png").exists()
    assert (clip / "fits" / "default" / "config.json").is_file()
    run(shots, clip, tmp_path / "masks")
    assert content(clip) == first
    (clip / "frames" / "00001.png").unlink()  # a damaged clip is made again
    run(shots, clip, tmp_path / "masks")
    assert content(clip) == first


@pytest.mark.parametrize("how", ["deleted", "cut short", "of another size", "overwritten"])
@pytest.mark.parametrize(
    "name", ["frames/00002.png", "masks/foreground/00002.png", "flow/forward.npy", "flow/backward_valid.npy"]
)
def test_what_is_damaged_is_made_again(shots: Path, tmp_path: Path, name: str, how: str) -> None:
    clip = run(shots, tmp_path / "clip", tmp_path / "masks").folder
    before, file = content(clip), clip / name
    if how == "deleted":
        file.unlink()
    elif how == "of another size" and file.suffix == ".png":
        write_image(file, read_image(file)[:-1])
    elif how == "overwritten":
        file.write_bytes(bytes(file.stat().st_size) if file.suffix == ".png" else file.read_bytes()[:-8] + b"anything")
    else:
        file.write_bytes(file.read_bytes()[:-50])
    run(shots, clip, tmp_path / "masks")
    after = {path: data for path, data in content(clip).items() if not path.startswith("replaced/")}
    assert after == before


def test_changed_frames_and_masks_are_noticed(shots: Path, tmp_path: Path) -> None:
    run(shots, tmp_path / "clip", tmp_path / "masks")
    write_image(shots / "00002.png", view(2) // 2)
    assert (run(shots, tmp_path / "clip", tmp_path / "masks").frame(2) == view(2) // 2).all()
    write_image(tmp_path / "masks" / "00002.png", mask(3))
    assert (run(shots, tmp_path / "clip", tmp_path / "masks").mask("foreground", 2) == mask(3)).all()


def test_a_video_trimmed_and_resampled(tmp_path: Path) -> None:
    movie = tmp_path / "a b.mp4"
    write_video(movie, (view(index) for index in range(12)), 30)
    for index in range(12):
        write_image(tmp_path / "masks" / f"{index:05d}.png", mask(index))
    clip = run(movie, tmp_path / "clip", tmp_path / "masks", start=2, frames=4, fps=15.0)
    assert (clip.frames, clip.fps, clip.source.fps, clip.source.indices) == (4, 15, 30, [2, 4, 6, 8])
    assert clip.source.start == 2 and clip.source.path == str(movie)
    assert (clip.mask("foreground", 1) == mask(4)).all()
    assert np.abs(clip.frame(1).astype(int) - view(4)).mean() < 8


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_names_that_are_no_utf_8(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As from an old disk or another country's camera: such a source is prepared, found again and up to date."""
    movie, folder = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.mp4", b"cl\xefp"))
    write_video(movie, (view(index) for index in range(FRAMES)), 24)
    frames = tmp_path / os.fsdecode(b"im\xe4ges")
    for index in range(FRAMES):
        write_image(frames / os.fsdecode(b"\xe9%05d.png" % index), view(index))
    for source in (movie, frames):
        prepared = run(source, folder, tmp_path / "masks")
        clip = Clip.open(prepared.folder)
        assert clip.source.path == str(source) and has_content(Path(clip.source.path), clip.source.sha256)
        run(source, folder, tmp_path / "masks")
        assert "is up to date" in capsys.readouterr().out


def test_sound_and_rate_are_recorded(tmp_path: Path) -> None:
    silent, movie = tmp_path / "silent.mp4", tmp_path / "sound.mp4"
    write_video(silent, (view(index) for index in range(6)), 30000 / 1001)
    sound = ["-f", "lavfi", "-i", "sine=440:duration=0.2", "-c:v", "copy"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(silent), *sound, str(movie)], check=True)
    clip = run(movie, tmp_path / "clip", "box:6,10,30,28")
    assert clip.source.audio and clip.fps == 30000 / 1001


def test_the_size_limit_portrait_and_odd(tmp_path: Path) -> None:
    for index in range(3):
        image = np.random.default_rng(index).integers(0, 255, (101, 55, 3), np.uint8)
        write_image(tmp_path / "odd" / f"{index}.jpg", image)
        write_image(
            tmp_path / "masks" / f"{index}.png",
            np.where(np.arange(55) < 20, np.uint8(255), np.uint8(0)) * np.ones((101, 1), np.uint8),
        )
    clip = run(tmp_path / "odd", tmp_path / "same", tmp_path / "masks")
    assert (clip.width, clip.height) == (55, 101)
    clip = run(tmp_path / "odd", tmp_path / "small", tmp_path / "masks", max_side=64)
    assert (clip.width, clip.height, clip.source.width, clip.source.height) == (34, 64, 55, 101)
    assert clip.frame(0).shape == (64, 34, 3)


def test_auto_and_box(shots: Path, tmp_path: Path) -> None:
    for name, masks in (("auto", "auto"), ("box", "box:6,10,30,28")):
        clip = run(shots, tmp_path / name, masks)
        for index in range(FRAMES):
            found, truth = clip.mask("foreground", index) > 127, mask(index) > 0
            assert np.count_nonzero(found & truth) / np.count_nonzero(found | truth) > 0.6, (name, index)


def test_flow_that_is_given(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "flow"
    given.mkdir()
    for name, shift in (("{0:05d}_{1:05d}", 2), ("{1:05d}_{0:05d}", -2)):
        for step in range(FRAMES - 1):
            flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
            flow[14:34, 10 + 2 * (step + (shift < 0)) :][:, :20] = shift, 0
            np.save(given / f"{name.format(step, step + 1)}.npy", flow)
    made = run(shots, tmp_path / "clip", tmp_path / "masks", flow=given)
    assert f"{given} was understood as flow: 5 steps, forward and backward" in capsys.readouterr().out
    assert (made.flow("forward")[1][20, 20] == (2, 0)).all() and made.flow_validity("forward")[1][20, 20]
    before = content(tmp_path / "clip")
    run(shots, tmp_path / "clip", tmp_path / "masks", flow=given)
    assert "up to date" in capsys.readouterr().out and content(tmp_path / "clip") == before
    np.save(given / "00002_00003.npy", np.zeros((HEIGHT, WIDTH, 2), np.float32))
    made = run(shots, tmp_path / "clip", tmp_path / "masks", flow=given)
    assert not made.flow("forward")[2].any(), "the files are part of what the clip is made from"
    before = content(tmp_path / "clip")
    np.save(given / "00002_00003.npy", np.zeros((HEIGHT, WIDTH + 1, 2), np.float32))
    with pytest.raises(UserError, match="00002_00003.npy is 65x48, the source 64x48"):
        run(shots, tmp_path / "clip", tmp_path / "masks", flow=given)
    assert content(tmp_path / "clip") == before


def test_bad_targets_are_left_alone(shots: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    before = content(tmp_path)
    for target, words in (
        ("file", "is a file"),
        ("full", "not a clip"),
        ("file/below", "is a file"),
        ("shöts and more", "not a clip"),
    ):
        with pytest.raises(UserError, match=words):
            run(shots, tmp_path / target, tmp_path / "masks")
    assert content(tmp_path) == before


def test_a_clip_is_not_made_of_itself_or_over_a_newer_one(shots: Path, tmp_path: Path) -> None:
    clip = run(shots, tmp_path / "clip", tmp_path / "masks").folder
    with pytest.raises(UserError, match="lies inside the clip"):
        run(clip / "frames", clip, tmp_path / "masks")
    write_json(clip / "clip.json", {"version": 99})
    with pytest.raises(UserError, match="format version 99"):
        run(shots, clip, tmp_path / "masks", start=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 6}, "past the end"),
        ({"start": 5}, "one single frame"),
        ({"start": -1}, "negative"),
        ({"frames": 1}, "at least two frames"),
        ({"start": 3, "frames": 4}, "gives 3 from frame 3 on"),
        ({"fps": 0.0}, "no frame rate"),
        ({"fps": 1e-300}, "no frame rate"),
        ({"fps": float("nan")}, "no frame rate"),
        ({"fps": 1e300}, "no frame rate"),
        ({"frames": 10**9}, "a clip holds at most"),
        ({"max_side": 4}, "too small"),
        ({"masks": "box:50,0,30,30"}, "inside the 64x48 frame"),
        ({"masks": "nowhere"}, "not a folder of masks"),
    ],
)
def test_bad_options(shots: Path, tmp_path: Path, options: dict[str, object], words: str) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=words):
        run(shots, tmp_path / "clip", **{"masks": tmp_path / "masks", **options})
    assert sorted(tmp_path.iterdir()) == before


def test_a_source_that_breaks_half_way_leaves_no_clip_and_keeps_the_old(shots: Path, tmp_path: Path) -> None:
    clip = run(shots, tmp_path / "clip", tmp_path / "masks").folder
    before = content(clip)
    (shots / "00004.png").write_bytes((shots / "00004.png").read_bytes()[:-200])
    for target in (clip, tmp_path / "new" / "deep"):
        with pytest.raises(UserError, match=r"00004\.png is truncated"):
            run(shots, target, tmp_path / "masks")
    assert content(clip) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip", "masks", "shöts and more"]


def test_what_a_killed_run_left_is_cleared(shots: Path, tmp_path: Path) -> None:
    (tmp_path / ".clip-making-killed" / "frames").mkdir(parents=True)
    run(shots, tmp_path / "clip", tmp_path / "masks")
    assert not (tmp_path / ".clip-making-killed").exists()
    # killed while the parts were moved in: a stamp, but no clip.json
    (tmp_path / "clip" / "clip.json").unlink()
    run(shots, tmp_path / "clip", tmp_path / "masks")
    assert Clip.open(tmp_path / "clip").frames == FRAMES


def test_the_command(shots: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "prepare.py"), str(shots), str(tmp_path / "clip")]
    done = subprocess.run(
        [*command, "--masks", str(tmp_path / "masks"), "--quiet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "masks.png" in done.stdout and not done.stderr
    failed = subprocess.run([*command, "--masks", "box:1,2"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2 and failed.stderr.startswith("error: --masks box:1,2") and failed.stderr.count("\n") == 1


def test_missing_masks_are_carried_over(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in (1, 3):
        (tmp_path / "masks" / f"{index:05d}.png").unlink()
    clip = run(shots, tmp_path / "clip", tmp_path / "masks")
    assert "foreground: 2 of 6 masks are missing or empty (1 and 3)" in capsys.readouterr().out
    for index in (1, 3):
        found, true = clip.mask("foreground", index) > 127, mask(index) > 127
        assert (found & true).sum() / (found | true).sum() > 0.85
