"""Sound that goes with a film: from its own time, whatever its layout, and never at the cost of the frames."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from atlas.video.reading import probe
from atlas.video.sound import Sound, sound_tracks
from atlas.video.writing import FORMATS, write_video

RATE = 48000
BEEP = 0.8
"""Seconds at which the sound has a beep, of a tenth of a second."""
BEEPING = f"aevalsrc='0.5*sin(2*PI*880*t)*between(t,{BEEP},{BEEP + 0.1})':d=2:s={RATE}"


def ffmpeg(*arguments: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def beep(path: Path) -> float:
    """When the beep begins, as a player has it: from the start of the file."""
    raw = ffmpeg(
        "-i",
        str(path),
        "-map",
        "0:a:0",
        "-af",
        "aresample=async=1:first_pts=0",
        "-ac",
        "1",
        "-f",
        "s16le",
        "-ar",
        str(RATE),
        "-",
    )
    samples = np.abs(np.frombuffer(raw, np.int16).astype(float))
    return int(np.argmax(samples > samples.max() / 3)) / RATE


def frames(count: int = 20) -> Iterator[np.ndarray]:
    yield from (np.full((48, 64, 3), 6 * number, np.uint8) for number in range(count))


def header(path: Path) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace").stderr


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "film.mkv"
    inputs = ("-f", "lavfi", "-i", "color=gray:size=64x48:rate=20:duration=2", "-f", "lavfi", "-i", BEEPING)
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-map", "1", "-c:v", "libx264", "-c:a:0", "ac3", "-c:a:1", "aac", str(path))
    return path


def with_sound(film: Path, path: Path, *codec: str, source: str = BEEPING) -> Path:
    ffmpeg("-i", str(film), "-f", "lavfi", "-i", source, "-map", "0:v", "-map", "1:a", "-c:v", "copy", *codec, str(path))
    return path


@pytest.mark.parametrize("kind", list(FORMATS))
def test_sound_begins_where_the_picture_does(film: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"film{FORMATS[kind].suffix}"
    for start in (0.0, 0.35):
        assert write_video(path, frames(), 20, kind=kind, sound=Sound(film, start, 1.0)) == ""
        assert beep(path) == pytest.approx(BEEP - start, abs=0.012)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("layout", "channels", "codec", "kind", "taken"),
    [
        ("5.1(side)", 6, "ac3", "webm", ("5.1",)),
        ("5.1(side)", 6, "ac3", "mp4", ("5.1",)),
        ("5.1(side)", 6, "ac3", "prores", ("5.1", "5.1(side)")),
        ("4.0", 4, "ac3", "webm", ("quad", "5.0")),
        ("7.1", 8, "flac", "mp4", ("7.1",)),
    ],
)
def test_layouts_that_the_codec_does_not_take(
    film: Path, tmp_path: Path, layout: str, channels: int, codec: str, kind: str, taken: tuple[str, ...]
) -> None:
    source = f"{BEEPING},pan={layout}|" + "|".join(f"c{channel}=c0" for channel in range(channels))
    surround = with_sound(film, tmp_path / "surround.mkv", "-c:a", codec, source=source)
    path = tmp_path / f"film{FORMATS[kind].suffix}"
    assert write_video(path, frames(8), 20, kind=kind, sound=Sound(surround, 0.6, 0.4)) == ""
    assert beep(path) == pytest.approx(BEEP - 0.6, abs=0.012)
    found = re.search(r"Audio: .*? Hz, ([^,]+),", header(path))
    assert found and found[1] in taken


def test_channels_that_nobody_named(film: Path, tmp_path: Path) -> None:
    source = f"{BEEPING},pan=FL+FR+FC+LFE+BL+BR+SL+SR+TC|c0=c0|c1=c0"
    many = with_sound(film, tmp_path / "many.mkv", "-c:a", "pcm_s16le", source=source)
    path = tmp_path / "film.webm"
    assert write_video(path, frames(8), 20, kind="webm", sound=Sound(many, 0.6, 0.4)) == ""
    assert beep(path) == pytest.approx(0.2, abs=0.012) and "stereo" in header(path)


@pytest.mark.parametrize(("kind", "start"), [("mp4", 0.0), ("prores", 0.0), ("mp4", 0.35)])
def test_the_first_track_that_can_be_decoded(film: Path, tmp_path: Path, kind: str, start: float) -> None:
    """One of a codec that nobody knows stands before it."""
    path, strange = tmp_path / f"film{FORMATS[kind].suffix}", tmp_path / "strange.mkv"
    strange.write_bytes(film.read_bytes().replace(b"A_AC3", b"A_XC9"))
    assert sound_tracks(film) == ["ac3", "aac"] and sound_tracks(strange) == ["none", "aac"]
    assert write_video(path, frames(), 20, kind=kind, sound=Sound(strange, start, 1.0)) == ""
    assert beep(path) == pytest.approx(BEEP - start, abs=0.03)


def test_no_track_that_can_be_decoded(film: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.mkv"
    strange.write_bytes(film.read_bytes().replace(b"A_AC3", b"A_XC9").replace(b"A_AAC", b"A_XA9"))
    said = write_video(tmp_path / "film.mp4", frames(), 20, sound=Sound(strange, 0.0, 1.0))
    assert said.startswith("none of its 2 sound tracks will do: ") and "\n" not in said and len(said) < 200
    info = probe(tmp_path / "film.mp4")
    assert info.frames == 20 and not info.audio


def test_sound_that_is_over_by_then(film: Path, tmp_path: Path) -> None:
    short = with_sound(film, tmp_path / "short.mkv", "-t", "0.5", "-c:a", "aac")
    longer = tmp_path / "longer.mkv"
    ffmpeg("-i", str(film), "-i", str(short), "-map", "0:v", "-map", "1:a", "-c", "copy", str(longer))
    said = write_video(tmp_path / "film.mp4", frames(8), 20, sound=Sound(longer, 1.2, 0.4))
    assert said == "it has no sound at that time" and probe(tmp_path / "film.mp4").frames == 8


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_sound_that_begins_later_begins_later(film: Path, tmp_path: Path, suffix: str) -> None:
    late = tmp_path / f"late.{suffix}"
    ffmpeg("-i", str(film), "-itsoffset", "0.5", "-i", str(film), "-map", "0:v", "-map", "1:a:1", "-c", "copy", str(late))
    for start in (0.0, 0.2):  # copied, and encoded
        assert write_video(tmp_path / "film.mp4", frames(30), 20, sound=Sound(late, start, 1.5)) == ""
        assert beep(tmp_path / "film.mp4") == pytest.approx(BEEP + 0.5 - start, abs=0.03)


def test_the_sound_is_encoded_before_the_first_frame_is_asked_for(film: Path, tmp_path: Path) -> None:
    found: list[str] = []

    def watching() -> Iterator[np.ndarray]:
        found.extend(file.name for file in tmp_path.rglob("sound.*"))
        yield from frames(8)

    write_video(tmp_path / "film.mp4", watching(), 20, sound=Sound(film, 0.0, 0.4))
    assert found == ["sound.mp4"]


def test_the_same_sound_gives_the_same_bytes(film: Path, tmp_path: Path) -> None:
    for kind in ("mp4", "webm"):
        for name in ("one", "two"):
            write_video(tmp_path / name, frames(8), 20, kind=kind, sound=Sound(film, 0.35, 0.4))
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        assert re.search("Audio: ", header(tmp_path / "one"))
