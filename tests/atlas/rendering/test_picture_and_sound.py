"""From a film to a rendered one: what is heard at a moment is heard with the same picture, however frames were taken."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.rendering.output import Output
from atlas.storage.images import write_image
from atlas.video.reading import probe, read_frames

MOMENT = 1.0
"""Seconds at which the film is bright and a beep is heard, for a tenth of a second."""
RATE = 48000
PICTURE = f"testsrc2=size=64x48:rate=24:duration=2,lutyuv=y='val*0.5',drawbox=t=fill:c=white:enable='between(t,{MOMENT},1.09)'"
BEEP = f"aevalsrc='0.5*sin(2*PI*880*t)*between(t,{MOMENT},1.1)':d=2:s={RATE}"
HELD = "select='not(between(t,0.3,0.75))'"


def ffmpeg(*arguments: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Films of the same two seconds."""
    folder = tmp_path_factory.mktemp("films")
    made = {name: folder / name for name in ("even.mp4", "trimmed.mp4", "held.mkv", "late.mkv", "from twenty.ts", "late.ts")}
    even = made["even.mp4"]
    mask = np.zeros((48, 64), np.uint8)
    mask[12:36, 16:46] = 255
    for number in range(48):
        write_image(folder / "masks" / f"{number:05d}.png", mask)
    codec = ("-c:v", "libx264", "-g", "12", "-pix_fmt", "yuv420p", "-c:a", "aac")
    ffmpeg("-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", BEEP, *codec, str(even))
    ffmpeg("-ss", "0.3", "-i", str(even), "-c", "copy", str(made["trimmed.mp4"]))
    ffmpeg("-i", str(even), "-vf", HELD, "-fps_mode", "vfr", *codec, str(made["held.mkv"]))
    ffmpeg("-i", str(even), "-vf", "select='gte(t,0.4)'", "-fps_mode", "vfr", *codec, str(made["late.mkv"]))
    ffmpeg("-i", str(even), "-c", "copy", "-output_ts_offset", "20", str(made["from twenty.ts"]))
    ffmpeg("-i", str(made["late.mkv"]), "-c", "copy", str(made["late.ts"]))
    return made


def moments(path: Path) -> tuple[float, float]:
    """When a film becomes bright, and when its beep begins."""
    light = [float(frame.mean()) for frame in read_frames(path)]
    raw = ffmpeg("-i", str(path), "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-f", "s16le", "-ar", str(RATE), "-")
    samples = np.abs(np.frombuffer(raw, np.int16).astype(float))
    return int(np.argmax(np.array(light) > 180)) / float(probe(path).fps), int(np.argmax(samples > samples.max() / 3)) / RATE


def clip_of(film: Path, folder: Path, **options: Any) -> Clip:
    masks = str(film.parent / "masks")
    return prepare(PrepareOptions(source=film, clip=folder, masks=masks, cuts="ignore", quiet=True, **options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("even.mp4", {"start": 12, "frames": 16}),
        ("even.mp4", {"start": 13, "fps": 10.0, "frames": 7}),
        ("trimmed.mp4", {"start": 8, "frames": 12}),
        ("held.mkv", {"start": 7, "frames": 20}),
        ("held.mkv", {"start": 2, "fps": 15.0, "frames": 18}),
        ("late.mkv", {"start": 8, "frames": 12}),
        ("late.ts", {"start": 8, "frames": 12}),
        ("from twenty.ts", {"start": 14, "frames": 14}),
    ],
)
def test_picture_and_sound_stay_together(films: dict[str, Path], tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    clip = clip_of(films[name], tmp_path / "clip", **options)
    assert clip.frames == options["frames"]
    Output(tmp_path / "film.mp4", "mp4").write((clip.frame(index) for index in range(clip.frames)), clip)
    bright, heard = moments(tmp_path / "film.mp4")
    assert 0.1 < bright < 1.2 and abs(bright - heard) < 0.5 / clip.fps + 0.025


def test_what_is_resampled_is_said(films: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = clip_of(films["held.mkv"], tmp_path / "clip", frames=30)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{films['held.mkv']} has a variable frame rate: resampled by time to a constant 24 frames per second"
    assert clip.fps == 24 and clip.source.indices.count(7) == 12  # shown from 0.29 s on


def test_a_clip_that_does_not_say_its_first_time(films: dict[str, Path], tmp_path: Path) -> None:
    """Of a version before that was recorded: it is that of its first frame."""
    clip = clip_of(films["late.mkv"], tmp_path / "clip", start=4, frames=20)
    recorded = clip.source.first_time
    assert recorded == pytest.approx(0.4 + 4 / 24, abs=0.05)
    clip.source = replace(clip.source, first_time=None)
    clip.save()
    older = Clip.open(clip.folder)
    Output(tmp_path / "film.mp4", "mp4").write((older.frame(index) for index in range(older.frames)), older)
    bright, heard = moments(tmp_path / "film.mp4")
    assert abs(bright - heard) < 0.05


def test_sound_that_cannot_be_decoded_costs_no_frame(
    films: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = films["held.mkv"].with_name("strange.mkv")
    strange.write_bytes(films["held.mkv"].read_bytes().replace(b"A_AAC", b"A_XA9"))
    clip = clip_of(strange, tmp_path / "clip", frames=8)
    Output(tmp_path / "film.mp4", "mp4").write((clip.frame(index) for index in range(clip.frames)), clip)
    assert probe(tmp_path / "film.mp4").frames == 8 and not probe(tmp_path / "film.mp4").audio
    assert "the film is without sound: " in (said := capsys.readouterr().err) and said.count("\n") == 1
