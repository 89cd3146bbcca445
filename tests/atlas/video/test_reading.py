"""Decoding and encoding: what goes in comes out, and what is damaged is said to be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from atlas.errors import UserError
from atlas.storage.images import over_black
from atlas.video.colour_tags import ASPECT
from atlas.video.ffmpeg import MOST_MESSAGES, reason, run_ffmpeg
from atlas.video.reading import probe, read_frames
from atlas.video.sound import Sound
from atlas.video.writing import write_video


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture, different for each index: (H, W, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(x * 3 + index * 9) % 256, y * 4 % 256, np.full_like(x, 60 + index)], axis=-1).astype(np.uint8)


def ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *arguments], check=True)


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a film, übung.mp4"
    write_video(path, (picture(index) for index in range(10)), Fraction(30000, 1001))
    return path


@pytest.fixture(scope="module")
def sounding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames at 20 fps with a second of silence-free sound."""
    path = tmp_path_factory.mktemp("sound") / "sound.mp4"
    source = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=20:duration=1", "-f", "lavfi", "-i", "sine=440:duration=1")
    ffmpeg(*source, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path))
    return path


def test_what_is_written_is_read_back(movie: Path) -> None:
    info = probe(movie)
    assert (info.width, info.height, info.fps, info.frames, info.audio) == (64, 48, Fraction(30000, 1001), 10, False)
    frames = list(read_frames(movie))
    assert frames[0].flags.writeable  # torch warns of frames that are not
    assert len(frames) == 10 and frames[3].shape == (48, 64, 3)
    for index, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - picture(index)).mean() < 6


def test_a_range_is_the_same_frames(movie: Path) -> None:
    everything = list(read_frames(movie))
    some = list(read_frames(movie, 3, 4))
    assert len(some) == 4
    assert all((one == other).all() for one, other in zip(some, everything[3:7], strict=True))


def test_stopping_early_ends_the_decoder(movie: Path) -> None:
    frames = read_frames(movie)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert next(frames, None) is None


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        write_video(tmp_path / name, (picture(index) for index in range(5)), 25.0)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


@pytest.mark.parametrize(("height", "width"), [(47, 64), (48, 63), (47, 63), (64, 48)])
def test_the_size_is_the_frames_own(tmp_path: Path, height: int, width: int) -> None:
    write_video(tmp_path / "odd.mp4", (picture(index, height, width) for index in range(3)), 24)
    info = probe(tmp_path / "odd.mp4")
    assert (info.width, info.height, info.fps) == (width, height, 24)
    assert [frame.shape for frame in read_frames(tmp_path / "odd.mp4")] == [(height, width, 3)] * 3


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(20), Fraction(25, 2), Fraction(60000, 1001)])
def test_frame_rates_are_exact(tmp_path: Path, fps: Fraction) -> None:
    write_video(tmp_path / "rate.mp4", (picture(index) for index in range(4)), float(fps))
    assert probe(tmp_path / "rate.mp4").fps == fps


def test_colour_tags_go_through(tmp_path: Path) -> None:
    tags = {"color_range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
    write_video(tmp_path / "tagged.mp4", (picture(index) for index in range(3)), 24, colour=tags)
    assert probe(tmp_path / "tagged.mp4").colour == tags
    # The matrix that the tag names was used: colours survive.
    assert np.abs(next(read_frames(tmp_path / "tagged.mp4")).astype(int) - picture(0)).mean() < 6


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libvpx-vp9"), ("b.webm", "libvpx"), ("c.mov", "prores_ks"), ("d.gif", "gif")]
)
def test_other_containers(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1", "-c:v", codec, str(path))
    info = probe(path)
    assert (info.width, info.height, info.fps, info.frames) == (64, 48, 10, 10)
    assert len(list(read_frames(path))) == 10


def test_rotation_is_honoured(movie: Path, tmp_path: Path) -> None:
    ffmpeg("-display_rotation", "90", "-i", str(movie), "-c", "copy", str(tmp_path / "portrait.mp4"))
    info = probe(tmp_path / "portrait.mp4")
    assert (info.width, info.height) == (48, 64)
    turned = next(read_frames(tmp_path / "portrait.mp4"))
    assert np.abs(turned.astype(int) - np.rot90(picture(0))).mean() < 6


def test_sound_is_cut_to_the_frames(sounding: Path, tmp_path: Path) -> None:
    assert probe(sounding).audio
    frames = list(read_frames(sounding, 5, 10))
    write_video(tmp_path / "cut.mp4", frames, 20, sound=Sound(sounding, 0.25, 0.5))
    info = probe(tmp_path / "cut.mp4")
    assert (info.audio, info.frames, info.fps) == (True, 10, 20)
    ffmpeg("-i", str(tmp_path / "cut.mp4"), "-vn", "-f", "s16le", "-ac", "1", "-ar", "44100", str(tmp_path / "cut.raw"))
    samples = np.fromfile(tmp_path / "cut.raw", np.int16)
    assert abs(len(samples) / 44100 - 0.5) < 0.06
    assert np.abs(samples[5000:15000]).mean() > 100
    assert not list(tmp_path.glob(".*"))


def test_sound_comes_with_the_same_bytes(sounding: Path, tmp_path: Path) -> None:
    frames = list(read_frames(sounding, 0, 5))
    for name in ("one.mp4", "two.mp4"):
        write_video(tmp_path / name, frames, 20, sound=Sound(sounding, 0.1, 0.25))
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_a_source_without_sound_adds_none(movie: Path, tmp_path: Path) -> None:
    said = write_video(tmp_path / "silent.mp4", [picture(0), picture(1)], 24, sound=Sound(movie, 0.0, 1 / 12))
    assert said == "it has no sound" and not probe(tmp_path / "silent.mp4").audio


def test_a_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    def frames():
        yield picture(0)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write_video(tmp_path / "x.mp4", frames(), 24)
    with pytest.raises(ValueError, match="frame 1"):
        write_video(tmp_path / "x.mp4", [picture(0), picture(0, 20, 20)], 24)
    with pytest.raises(ValueError, match="at least one"):
        write_video(tmp_path / "x.mp4", [], 24)
    assert not list(tmp_path.iterdir())


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        probe(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no film\n" * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.ts\n")
    for name in ("text.mp4", "empty.mp4", "list.m3u8"):
        with pytest.raises(UserError, match="not a readable video"):
            probe(tmp_path / name)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".avi"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    extra = ("-movflags", "+faststart") if suffix == ".mp4" else ()
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2", *extra, str(whole))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    with pytest.raises(UserError, match="cut off"):
        list(read_frames(cut))


def test_an_mp4_without_its_index_is_refused(movie: Path, tmp_path: Path) -> None:
    source = tmp_path / "plain.mp4"
    ffmpeg("-i", str(movie), "-c", "copy", str(source))  # the index at the end
    source.write_bytes(source.read_bytes()[:-400])
    with pytest.raises(UserError, match="not a readable video|cut off"):
        probe(source)


def test_transparent_pixels_are_put_over_black() -> None:
    image = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]], np.uint8)
    assert over_black(image).tolist() == [[[200, 100, 50], [0, 0, 0], [100, 50, 25]]]


def test_the_texts_in_a_file_are_not_taken_for_what_ffmpeg_finds(tmp_path: Path) -> None:
    lies = "n:   0 pts: 0 fmt:rgb24 sar:1/2 s:9x9 color_space:bt709\n  Duration: 09:00:00.00, start: 1.2.3"
    inputs = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=20:duration=1")
    ffmpeg(*inputs, "-metadata", f"title={lies}", "-metadata", f"x\n{lies}=y", "-c:v", "libx264", str(tmp_path / "lying.mkv"))
    info = probe(tmp_path / "lying.mkv")
    assert (info.width, info.height, info.fps, info.frames, info.audio) == (64, 48, 20, 20, False)
    assert "colorspace" not in info.colour and ASPECT not in info.colour


@pytest.mark.skipif(sys.platform == "win32", reason="its names cannot hold these")
@pytest.mark.parametrize(
    "name", ["-y.mp4", "%05d.mp4", "a\nb.mp4", "concat:a|b.mp4", "http:a.mp4", "a\x1b[1m.mp4", "*?[x].mp4"]
)
def test_names_are_names_to_ffmpeg(movie: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(movie, tmp_path / name)
    assert probe(Path(name)).frames == 10 and len(list(read_frames(Path(name), 0, 2))) == 2
    write_video(Path(f"{name}.mp4"), [picture(0), picture(1)], 24, sound=Sound(Path(name), 0.0, 1 / 12))
    assert probe(Path(f"{name}.mp4")).frames == 2


def test_a_gif_whose_end_mark_stands_before_many_zeros(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1", str(tmp_path / "a.gif"))
    whole = (tmp_path / "a.gif").read_bytes()
    for zeros in (0, 1, 1 << 16, 200_000):
        (tmp_path / "a.gif").write_bytes(whole + bytes(zeros))
        assert probe(tmp_path / "a.gif").frames == 10
    for cut in (whole[:-1], whole[:-1] + bytes(100_000), bytes(100)):
        (tmp_path / "a.gif").write_bytes(cut)
        with pytest.raises(UserError, match="cut off"):
            probe(tmp_path / "a.gif")


def test_a_report_without_end_and_a_run_without_end_are_stopped() -> None:
    endless = ["-v", "debug", "-f", "lavfi", "-i", "nullsrc=size=16x16", "-vf", "showinfo", "-f", "null", "-"]
    ended = run_ffmpeg(endless)
    assert ended.returncode and len(ended.messages) < 2 * MOST_MESSAGES and ended.messages.endswith("without end")
    ended = run_ffmpeg(["-v", "error", "-f", "lavfi", "-i", "nullsrc=size=16x16", "-f", "null", "-"], seconds=0.5)
    assert ended.returncode and reason(ended.messages) == "ffmpeg finds no end"


def test_transparency_of_large_frames_is_exact() -> None:
    image = np.random.default_rng(0).integers(0, 65536, (300, 5, 4), np.uint16)
    wide = image[..., :3].astype(np.uint64) * image[..., 3:]
    assert (over_black(image) == (wide + 32767) // 65535).all() and over_black(image).dtype == np.uint16
