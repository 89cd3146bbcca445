"""What is shown of a film, and when: trimmed, delayed, held, interlaced and changing films that ffmpeg makes."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from atlas.errors import UserError
from atlas.video.rate import picked_frames
from atlas.video.reading import probe, read_frames

FRAMES, SHADE = 48, 5
"""Frames of the film, 24 a second, and grey levels from one to the next."""


def ffmpeg(*arguments: str, stdin: bytes = b"") -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *([] if stdin else ["-nostdin"]), *arguments]
    return subprocess.run(command, check=True, capture_output=True, input=stdin or None).stdout


def numbers(path: Path) -> list[int]:
    """The numbers that the frames show by their grey."""
    return [round(float(frame.mean()) / SHADE) - 1 for frame in read_frames(path)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with frames out of order, a keyframe every half second, and sound."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = b"".join(bytes([SHADE * (number + 1)]) * (64 * 48) for number in range(FRAMES))
    picture = ("-f", "rawvideo", "-pix_fmt", "gray", "-video_size", "64x48", "-framerate", "24", "-i", "pipe:0")
    codec = ("-c:v", "libx264", "-g", "12", "-bf", "2", "-pix_fmt", "yuvj420p", "-c:a", "aac")
    ffmpeg(*picture, "-f", "lavfi", "-i", "sine=440:duration=2", *codec, str(path), stdin=frames)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("more", [[], ["-an"], ["-t", "0.75"]])
def test_a_film_trimmed_without_encoding_shows_what_is_left(film: Path, tmp_path: Path, suffix: str, more: list[str]) -> None:
    """Its first keyframe is at 0.5 s: what is stored from there to 0.7 s is never shown."""
    path = tmp_path / f"trimmed.{suffix}"
    ffmpeg("-ss", "0.7", *more, "-i", str(film), "-c", "copy", str(path))
    info, shown = probe(path), numbers(path)
    assert info.fps == 24 and info.frames == len(shown) and info.remarks() == []
    assert shown == list(range(17, 17 + len(shown))) and abs(len(shown) - (18 if "-t" in more else 31)) <= 2
    assert [round(float(frame.mean()) / SHADE) - 1 for frame in read_frames(path, 5, 3)] == [22, 23, 24]


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts", "late.mov"])
@pytest.mark.parametrize("sound", [[], ["-an"]])
def test_a_first_time_that_is_not_zero_is_no_missing_part(film: Path, tmp_path: Path, name: str, sound: list[str]) -> None:
    ffmpeg("-i", str(film), *sound, "-c", "copy", "-output_ts_offset", "20", str(tmp_path / name))
    info = probe(tmp_path / name)
    assert (info.frames, info.fps) == (FRAMES, 24) and numbers(tmp_path / name) == list(range(FRAMES))
    assert info.times[0] == pytest.approx(0.0, abs=0.1) and info.remarks() == []


def test_a_copy_with_its_old_times(film: Path, tmp_path: Path) -> None:
    ffmpeg("-copyts", "-ss", "1.2", "-i", str(film), "-c", "copy", str(tmp_path / "copyts.mkv"))
    info, shown = probe(tmp_path / "copyts.mkv"), numbers(tmp_path / "copyts.mkv")
    assert info.fps == 24 and info.frames == len(shown) and shown[-1] == FRAMES - 1


@pytest.mark.parametrize("name", ["late picture.mkv", "late picture.ts", "late picture.mp4"])
def test_a_picture_that_begins_after_the_sound(film: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    streams = ("-itsoffset", "0.6", "-i", str(film), "-i", str(film), "-map", "0:v", "-map", "1:a")
    ffmpeg(*streams, "-c", "copy", str(path))
    info = probe(path)
    assert info.frames == FRAMES and info.times[0] == pytest.approx(0.6, abs=0.03) and numbers(path)[0] == 0


HELD = [100, 100, 100, 1000, 100, 100, 300]
"""Milliseconds for which each frame is shown."""


def pictures() -> list[Image.Image]:
    return [Image.fromarray(np.full((48, 64, 3), 30 * number + 20, np.uint8)) for number in range(len(HELD))]


@pytest.mark.parametrize("name", ["held.gif", "held.png", "held.webp"])
def test_pictures_that_are_held(tmp_path: Path, name: str) -> None:
    path = tmp_path / name.replace(".png", ".apng")
    first, *others = pictures()
    kind = {"gif": "GIF", "png": "PNG", "webp": "WEBP"}[name[5:]]
    first.save(path, kind, save_all=True, append_images=others, duration=HELD, lossless=True)
    try:
        info = probe(path)
    except UserError:
        if kind == "WEBP":
            pytest.skip("this ffmpeg does not read animated WebP")
        raise
    assert info.frames == 7 and info.fps == 10 and "variable frame rate" in info.remarks()[0]
    np.testing.assert_allclose(info.times, np.cumsum([0, *HELD]) / 1000, atol=1e-9)
    assert picked_frames(info.times, info.fps, 0, None, None) == [0, 1, 2, *[3] * 10, 4, 5, 6, 6, 6]


@pytest.mark.parametrize("name", ["held.mp4", "held.mov", "held.mkv", "held.avi", "held.ts"])
def test_films_with_a_hold(tmp_path: Path, name: str) -> None:
    """As of a phone or a screen: no frame is stored while nothing moves. Not all of them say how long the last is shown."""
    first, *others = pictures()
    first.save(tmp_path / "held.gif", save_all=True, append_images=others, duration=HELD)
    codec = "mpeg4" if name.endswith("avi") else "libx264"  # AVI has no times of its own for frames out of order
    ffmpeg("-i", str(tmp_path / "held.gif"), "-fps_mode", "vfr", "-pix_fmt", "yuv420p", "-c:v", codec, str(tmp_path / name))
    info = probe(tmp_path / name)
    assert info.frames == 7 and info.fps == 10
    np.testing.assert_allclose(info.times[:-1], np.cumsum([0, *HELD[:-1]]) / 1000, atol=1e-3)
    picked = picked_frames(info.times, info.fps, 0, None, None)
    assert picked[:16] == [0, 1, 2, *[3] * 10, 4, 5, 6] and 16 <= len(picked) <= 18


def moving(count: int) -> np.ndarray:
    """A bar that moves by four pixels a field over a soft ground: (T, H, W) uint8."""
    x = np.arange(96)
    bars = [np.where(abs((x - 10 - 2 * field) % 96) < 12, 220, 40 + x) for field in range(count)]
    return np.repeat(np.array(bars, np.uint8)[:, None], 64, axis=1)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("i.mp4", ["-c:v", "libx264", "-crf", "8", "-x264opts", "tff=1"]),
        ("i.ts", ["-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct"]),
        ("i.mov", ["-c:v", "prores_ks", "-flags", "+ildct"]),
        ("i.mkv", ["-c:v", "utvideo"]),  # whose decoder does not say it of its frames, the container does
    ],
)
def test_fields_become_whole_frames(tmp_path: Path, name: str, encoder: list[str]) -> None:
    fields, layout = moving(24), "yuv422p10le" if name.endswith("mov") else "yuv420p"
    raw = ("-f", "rawvideo", "-pix_fmt", "gray", "-video_size", "96x64", "-framerate", "50", "-i", "pipe:0")
    weave = ("-vf", "tinterlace=interleave_top,setfield=tff", "-pix_fmt", layout)
    ffmpeg(*raw, *weave, *encoder, str(tmp_path / name), stdin=fields.tobytes())
    info = probe(tmp_path / name)
    assert (
        info.frames == 12 and info.fps == 25 and info.remarks() == ["has interlaced frames: deinterlaced with ffmpeg's bwdif"]
    )
    shown = list(read_frames(tmp_path / name))
    assert len(shown) == 12
    for number, frame in list(enumerate(shown))[1:-1]:
        combed = fields[2 * number].copy()
        combed[1::2] = fields[2 * number + 1][1::2]
        error, of_combed = (
            np.sqrt(np.mean((image - fields[2 * number].astype(float)) ** 2)) for image in (frame[..., 1], combed)
        )
        assert error < 5 and error < of_combed / 3
    alone = list(read_frames(tmp_path / name, 5, 2))
    assert all((one == other).all() for one, other in zip(alone, shown[5:7], strict=True))


def test_whole_frames_stay_as_they_are(film: Path) -> None:
    assert probe(film).deinterlacing == ""


def test_frames_whose_size_changes_are_counted_on(tmp_path: Path) -> None:
    for name, size in (("a.ts", "64x48"), ("b.ts", "96x72")):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=20:duration=0.5", "-c:v", "mpeg2video", str(tmp_path / name))
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    info, shown = probe(joined), list(read_frames(joined))
    assert info.changing and info.frames == len(shown) >= 19 and {frame.shape for frame in shown} == {(48, 64, 3)}
    for start in (4, 13):
        part = list(read_frames(joined, start, 5, info))
        assert len(part) == 5 and all((one == other).all() for one, other in zip(part, shown[start:], strict=False))
    assert info.fps == 20 and (np.diff(info.times) > 0).all()


def test_two_fields_in_packets_of_their_own_are_one_frame(tmp_path: Path) -> None:
    """MPEG-2 in a transport stream, remuxed from a program stream: what a packet holds is nobody's business."""
    for name in ("a.mpg", "a.ts"):
        given = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30000/1001:duration=1"] if name == "a.mpg" else []
        source = given or ["-i", str(tmp_path / "a.mpg")]
        codec = ["-c:v", "mpeg2video", "-bf", "2"] if given else ["-c", "copy"]
        ffmpeg(*source, *codec, str(tmp_path / name))
        info = probe(tmp_path / name)
        assert info.fps == Fraction(30000, 1001) and info.frames == len(list(read_frames(tmp_path / name))) == 30


def test_a_part_is_listed_as_the_whole_is(film: Path) -> None:
    whole = probe(film)
    part = probe(film, 10)
    assert whole.whole and not part.whole and part.frames == 10 and part.fps == 24 and part.seconds == whole.seconds
    np.testing.assert_array_equal(part.times, whole.times[:11])
    assert probe(film, 500).whole and [frame.shape for frame in read_frames(film, 8, 2, part)] == [(48, 64, 3)] * 2
