"""Video formats: what each holds comes back."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from atlas.video.colour_tags import ASPECT, KNOWN, completed, is_known_tag
from atlas.video.reading import over_black, probe, read_frames
from atlas.video.sound import Sound
from atlas.video.writing import FORMATS, _broken_pipe, _codec, write_video

TAGS = {"color_range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(x * 3 + index * 9) % 256, y * 4 % 256, np.full_like(x, 60 + index)], axis=-1).astype(np.uint8)


def transparent(index: int) -> np.ndarray:
    """RGBA: a disc, soft at its rim."""
    y, x = np.mgrid[0:48, 0:64]
    alpha = np.clip((16 - np.hypot(x - 24 - index, y - 24)) / 4 + 0.5, 0, 1) * 255
    return np.dstack([picture(index), alpha.astype(np.uint8)])


def ffmpeg(*arguments: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize("kind", list(FORMATS))
def test_size_rate_colour_and_tags(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"film{FORMATS[kind].suffix}"
    frames = [picture(index) for index in range(6)]
    given = [frame.astype(np.uint16) * 257 for frame in frames] if FORMATS[kind].deep else frames
    write_video(path, given, Fraction(30000, 1001), kind=kind, colour=TAGS)
    info = probe(path)
    assert (info.width, info.height, info.frames) == (64, 48, 6)
    assert abs(float(info.fps) - 30000 / 1001) < 0.01
    assert {key: info.colour.get(key) for key in TAGS} == TAGS
    for frame, found in zip(frames, read_frames(path), strict=True):
        assert np.abs(frame.astype(int) - found).mean() < 6


def test_what_is_quickly_encoded_is_as_good_at_a_lower_rate_factor(tmp_path: Path) -> None:
    frames = [picture(index, 96, 128) for index in range(8)]
    errors = []
    for name, crf, quick in (("usual", None, False), ("quick", 14, True)):
        path = tmp_path / f"{name}.mp4"
        write_video(path, frames, 24, crf=crf, quick=quick)
        assert probe(path).frames == 8
        errors.append(np.mean([np.abs(a.astype(int) - b) for a, b in zip(frames, read_frames(path), strict=True)]))
    assert (tmp_path / "usual.mp4").read_bytes() != (tmp_path / "quick.mp4").read_bytes()
    assert errors[1] < 1.2 * errors[0]


@pytest.mark.parametrize("kind", list(FORMATS))
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for name in ("one", "two"):
        write_video(tmp_path / name, [picture(index) for index in range(5)], 24, kind=kind)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kind", ["webm", "prores"])
def test_transparency(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"layer{FORMATS[kind].suffix}"
    frames = [transparent(index) for index in range(4)]
    write_video(path, frames, 24, kind=kind)
    for frame, shown in zip(frames, read_frames(path), strict=True):  # what is under alpha 0 does not show
        assert shown[frame[..., 3] == 0].mean() < 1 and np.abs(shown.astype(int) - over_black(frame)).mean() < 6
    decoder = ("-c:v", "libvpx-vp9") if kind == "webm" else ()  # ffmpeg's own leaves transparency out
    raw = ffmpeg(*decoder, "-i", str(path), "-pix_fmt", "rgba", "-f", "rawvideo", "-")
    found = np.frombuffer(raw, np.uint8).reshape(4, 48, 64, 4)
    for frame, result in zip(frames, found, strict=True):
        assert np.abs(frame[..., 3].astype(int) - result[..., 3]).mean() < 3
        opaque = frame[..., 3] == 255
        assert np.abs(frame[opaque].astype(int) - result[opaque]).mean() < 8


@pytest.mark.parametrize(("height", "width"), [(47, 63), (48, 63)])
@pytest.mark.parametrize("kind", list(FORMATS))
def test_odd_sizes(tmp_path: Path, kind: str, height: int, width: int) -> None:
    path = tmp_path / f"odd{FORMATS[kind].suffix}"
    write_video(path, [picture(index, height, width) for index in range(3)], 24, kind=kind)
    assert [frame.shape for frame in read_frames(path)] == [(height, width, 3)] * 3


@pytest.mark.parametrize("kind", ["webm", "prores"])
def test_sound_comes_along(tmp_path: Path, kind: str) -> None:
    sounding = tmp_path / "sound.mp4"
    source = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=20:duration=1", "-f", "lavfi", "-i", "sine=440:duration=1")
    ffmpeg(*source, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", str(sounding))
    path = tmp_path / f"film{FORMATS[kind].suffix}"
    write_video(path, list(read_frames(sounding, 5, 10)), 20, kind=kind, sound=Sound(sounding, 0.25, 0.5))
    info = probe(path)
    assert info.audio and info.frames == 10
    samples = np.frombuffer(ffmpeg("-i", str(path), "-vn", "-f", "s16le", "-ac", "1", "-ar", "48000", "-"), np.int16)
    assert abs(len(samples) / 48000 - 0.5) < 0.06 and np.abs(samples[5000:15000]).mean() > 100


def test_a_lower_rate_factor_is_a_better_picture(tmp_path: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8) for i in range(3)]
    for kind in ("mp4", "webm"):
        for crf in (5, 45):
            write_video(tmp_path / f"{crf}", noise, 24, kind=kind, crf=crf)
        assert (tmp_path / "5").stat().st_size > 2 * (tmp_path / "45").stat().st_size


def test_what_a_dead_ffmpeg_looks_like() -> None:
    """A write to a closed pipe is EINVAL on Windows; a full disk, or an error while ffmpeg is well, is something else."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        assert _broken_pipe(OSError(errno.EINVAL, "Invalid argument"), ended)
        assert _broken_pipe(BrokenPipeError(), ended)
        assert not _broken_pipe(OSError(errno.ENOSPC, "No space left on device"), ended)


def known_to_ffmpeg() -> list[tuple[str, str]]:
    """Every colour tag with every value that ffmpeg lists."""
    names = {"range": "color_range", "colorspace": "colorspace", "color_primaries": "color_primaries", "color_trc": "color_trc"}
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-h", "filter=setparams"]
    listed, option, pairs = subprocess.run(command, check=True, capture_output=True, text=True).stdout, "", []
    for line in listed.splitlines():
        if begun := re.match(r" {3}(\w+) +<int>", line):
            option = begun[1]
        elif (value := re.match(r" {5}(\S+) +-?\d+ ", line)) and option in names:
            pairs.append((names[option], value[1]))
    return pairs


def test_every_colour_tag_of_ffmpeg_goes_through_but_for_matrices_that_the_scaler_lacks() -> None:
    pairs = known_to_ffmpeg()
    assert len(pairs) > 50 and {tag for tag, _ in pairs} == set(KNOWN)
    usual = {"color_range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
    matrices = {"bt2020nc": "bt2020"} | {name: name for name in ("bt709", "bt470bg", "smpte170m", "fcc", "smpte240m")}
    for tag, value in pairs:
        left_open = value in ("auto", "unknown", "unspecified") or (tag == "colorspace" and value not in matrices)
        tags = usual if left_open else completed({tag: value})
        assert left_open or tags[tag] == value
        full = "pc" if tags["color_range"] in ("pc", "jpeg", "full") else "tv"
        exact = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
        scale = f"scale=out_color_matrix={matrices[tags['colorspace']]}:out_range={full}:{exact}"
        settings = "range={color_range}:colorspace={colorspace}:color_primaries={color_primaries}:color_trc={color_trc}"
        chain = f"{scale},format=yuv420p,setparams={settings.format(**tags)}"
        encoder = ["-c:v", "libx264", "-preset", "medium", "-crf", "16", "-threads", "4", "-flags:v", "+bitexact"]
        assert _codec(FORMATS["mp4"], picture(0), {tag: value}, None) == ["-vf", chain, *encoder]
        aspect = _codec(FORMATS["mp4"], picture(0), {tag: value, ASPECT: "1021/1000"}, None)
        assert aspect == ["-vf", f"{chain},setsar=1021/1000", *encoder]


@pytest.mark.parametrize(("tag", "value"), [
    ("colorspace", "bt470bg"), ("colorspace", "smpte170m"), ("colorspace", "gbr"), ("color_range", "pc"),
    ("color_trc", "iec61966-2-1"), ("color_trc", "arib-std-b67"), ("color_primaries", "smpte432"), (ASPECT, "32/27"),
])  # fmt: skip
def test_tags_of_real_films_are_written(tmp_path: Path, tag: str, value: str) -> None:
    assert is_known_tag(tag, value)
    write_video(tmp_path / "film.mp4", [picture(0), picture(1)], 24, colour={tag: value})
    found = probe(tmp_path / "film.mp4").colour.get(tag)
    assert found == ("bt709" if value == "gbr" else value)  # a matrix of RGB says nothing about the YUV that the film holds


@pytest.mark.parametrize("colour", [
    {ASPECT: "1/1,metadata=mode=print:file=owned.txt"}, {ASPECT: "1/0"}, {ASPECT: "1"}, {"colorspace": "bt709:x=1"},
    {"color_range": "tv\n"}, {"color_range": ""}, {"colour": "bt709"},
])  # fmt: skip
@pytest.mark.parametrize("kind", list(FORMATS))
def test_no_other_text_becomes_part_of_a_filter(tmp_path: Path, kind: str, colour: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="ffmpeg has"):
        write_video(tmp_path / "film", [picture(0), picture(1)], 24, kind=kind, colour=colour)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0.0, -24.0, 1e-300, 1e300, float("nan"), float("inf"), Fraction(0), Fraction(1, 20000)])
def test_what_is_no_frame_rate(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="no frame rate"):
        write_video(tmp_path / "film.mp4", [picture(0), picture(1)], fps)


def test_the_slowest_and_the_fastest_film(tmp_path: Path) -> None:
    for fps in (1e-4, 1000.0):
        write_video(tmp_path / "film.mp4", [picture(0), picture(1)], fps)
        assert (tmp_path / "film.mp4").stat().st_size > 500


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no transparency"):
        write_video(tmp_path / "x.mp4", [transparent(0)], 24)
    with pytest.raises(ValueError, match="frame 1 is"):
        write_video(tmp_path / "x.mov", [picture(0), transparent(0)], 24, kind="prores")
    assert not list(tmp_path.iterdir())
