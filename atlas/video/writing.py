"""Write video files: exact size, frame rate and colours, sound and transparency where the format holds them."""

from __future__ import annotations

import errno
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from atlas.storage.atomic import atomic_file, put_in_place, scratch_folder
from atlas.video.colour_tags import SCALER_MATRICES, check_colour, completed
from atlas.video.conversion import SCALER
from atlas.video.ffmpeg import MOST_MESSAGES, run_ffmpeg, start_ffmpeg
from atlas.video.rate import exact_rate
from atlas.video.sound import Sound, SoundCodec, encode_sound

_LAYOUTS = {(3, 1): "rgb24", (4, 1): "rgba", (3, 2): "rgb48le", (4, 2): "rgba64le"}  # (channels, bytes) as they come in
_BIT_EXACT = ["-map_metadata", "-1", "-fflags", "+bitexact"]


@dataclass(frozen=True)
class VideoFormat:
    """A container with a codec for pictures and one for sound."""

    name: str
    suffix: str
    encoder: tuple[str, ...]
    """Arguments of ffmpeg for the pictures; {crf} stands for the rate factor."""
    crf: int | None
    """Its usual rate factor (0: lossless or nearly, 51 or 63: worst); None where quality is fixed."""
    largest_crf: int = 0
    quick: tuple[str, ...] = ()
    """Further arguments of the encoder for films that are to be there soon."""
    layout: str = "yuv420p"
    """Pixel layout of opaque frames."""
    odd_layout: str | None = None
    """The same for frames with a side of odd length, where it is another."""
    alpha_layout: str | None = None
    """Pixel layout of transparent frames; None where it holds no transparency."""
    alpha_arguments: tuple[str, ...] = ()
    """Further arguments of the encoder for transparent frames."""
    one_range: bool = False
    """Whether its colours have one range only, so that the source's tag of it says nothing."""
    deep: bool = False
    """Whether it holds more than 8 bits: frames are then best given in 16."""
    container: tuple[str, ...] = ()
    sound: SoundCodec = field(kw_only=True)

    @property
    def transparent(self) -> bool:
        """Whether it can hold transparency."""
        return self.alpha_layout is not None


FORMATS = {
    "mp4": VideoFormat(
        "mp4",
        ".mp4",
        ("-c:v", "libx264", "-preset", "medium", "-crf", "{crf}"),
        crf=16,
        largest_crf=51,
        quick=("-preset", "veryfast"),
        odd_layout="yuv444p",
        container=("-movflags", "+faststart", "-f", "mp4"),
        sound=SoundCodec(
            ("aac", "-b:a", "192k"),
            ("-f", "mp4"),
            copied=frozenset({"aac", "mp3", "ac3", "eac3", "alac"}),
            layouts="mono|stereo|3.0|4.0|5.0|5.1|7.1",
        ),
    ),
    "webm": VideoFormat(
        "webm",
        ".webm",
        ("-c:v", "libvpx-vp9", "-crf", "{crf}", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"),
        crf=20,
        largest_crf=63,
        alpha_layout="yuva420p",
        alpha_arguments=("-auto-alt-ref", "0"),
        container=("-f", "webm"),
        sound=SoundCodec(
            ("libopus", "-b:a", "160k"),
            ("-f", "webm"),
            copied=frozenset({"opus", "vorbis"}),
            layouts="mono|stereo|3.0|quad|5.0|5.1|6.1|7.1",
        ),
    ),
    "prores": VideoFormat(
        "prores",
        ".mov",
        ("-c:v", "prores_ks", "-profile:v", "4444", "-vendor", "apl0"),
        crf=None,
        layout="yuv444p10le",
        alpha_layout="yuva444p10le",
        one_range=True,
        deep=True,
        container=("-f", "mov"),
        sound=SoundCodec(
            ("pcm_s16le",), ("-f", "mov"), copied=frozenset({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le"})
        ),
    ),
}
"""H.264 in mp4, VP9 in webm, ProRes 4444 in mov."""


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],  # each (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16
    fps: Fraction | float,
    *,
    kind: str = "mp4",
    sound: Sound | None = None,
    colour: Mapping[str, str] | None = None,
    crf: int | None = None,
    quick: bool = False,
) -> str:
    """Write a video of exactly the frames' size at an exact frame rate, atomically; the same input gives the same bytes.

    Returns why it is without the `sound` that was asked for; '' where it is not.

    H.264 of even sizes is yuv420p, which everything plays. Odd ones are yuv444p: 4:2:0 cannot hold an odd size there, and
    an edited video must have the size of its source. RGBA frames keep their transparency (not premultiplied).

    kind: one of FORMATS. fps: a float is taken for the fraction it stands for (29.97002997 is 30000/1001).
    sound: what accompanies the frames, for as long as they last. It is encoded first, so that nothing is lost by it.
    colour: the colour tags of the frames (`FrameSource.colour`), carried through and used for the conversion to YUV; where
        some are missing, as `completed` fills them in: RGB of which nothing is known is encoded by BT.709, and tagged so.
    crf: rate factor; None: the format's usual one.
    quick: in half the time where the format has a way to; the same quality takes a rate factor lower by 2 then, and more room.
    Raises ValueError for frames that differ in size or type, or are transparent where the format is not, for a frame rate
    that is none, and for colour tags that ffmpeg has not.
    """
    form = FORMATS[kind]
    if quick:
        form = replace(form, encoder=(*form.encoder, *form.quick))
    if sound is None:
        _encode_all(path, frames, fps, form, colour, crf)
        return ""
    with scratch_folder(_made(path.parent), path.name) as folder:
        silent, track = (folder / f"{name}{form.suffix}" for name in ("silent", "sound"))
        problem = encode_sound(sound, track, form.sound)
        seconds = _encode_all(silent, frames, fps, form, colour, crf)
        if problem:
            put_in_place(silent, path)
            return problem
        with atomic_file(path) as temporary:
            # With their own times: copied sound may begin after the picture.
            inputs = ["-v", "error", "-y", "-copyts", "-i", f"file:{silent}", "-i", f"file:{track}"]
            mapped = ["-map", "0:v:0", "-map", "1:a:0", "-c", "copy", "-t", f"{float(seconds):.6f}", *_BIT_EXACT]
            mux = run_ffmpeg([*inputs, *mapped, *form.container, f"file:{temporary}"])
            _check_encoded(mux.returncode, mux.messages, path)
    return ""


def _encode_all(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: Fraction | float,
    form: VideoFormat,
    colour: Mapping[str, str] | None,
    crf: int | None,
) -> Fraction:
    """Encode frames to `path` atomically; returns how many seconds they last."""
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    if first.shape[2] == 4 and not form.transparent:
        raise ValueError(f"{form.name} holds no transparency")
    rate = exact_rate(fps)
    arguments = [*_input(first, rate), *_codec(form, first, dict(colour or {}), crf), *_BIT_EXACT, *form.container]
    return _encode(path, first, remaining, arguments) / rate


def _input(frame: np.ndarray, rate: Fraction) -> list[str]:
    height, width, channels = frame.shape
    layout = _LAYOUTS[channels, frame.dtype.itemsize]
    return [
        *("-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", layout, "-video_size", f"{width}x{height}"),
        *("-framerate", f"{rate.numerator}/{rate.denominator}", "-i", "pipe:0", "-map", "0:v:0"),
    ]


def _codec(form: VideoFormat, frame: np.ndarray, colour: dict[str, str], crf: int | None) -> list[str]:
    check_colour(colour)
    height, width, channels = frame.shape
    quality = str(form.crf if crf is None else crf)
    # Encoders' output depends on their number of threads, which by default is the machine's.
    same = ["-threads", "4", "-flags:v", "+bitexact"]
    encoder = [argument.format(crf=quality) for argument in form.encoder]
    layout = form.odd_layout if form.odd_layout and (width % 2 or height % 2) else form.layout
    if channels == 4 and form.alpha_layout:
        layout = form.alpha_layout
        encoder += form.alpha_arguments
    if form.one_range:
        colour.pop("color_range", None)
    # Nothing stays untagged: what is not is shown by BT.601 in one player and by BT.709 in another.
    colour = completed(colour)
    full = colour["color_range"] in ("pc", "jpeg", "full")
    matrix = SCALER_MATRICES[colour["colorspace"]]
    chain = [f"scale=out_color_matrix={matrix}:out_range={'pc' if full else 'tv'}:{SCALER}", f"format={layout}"]
    tags = {"color_range": "range", "colorspace": "colorspace", "color_primaries": "color_primaries", "color_trc": "color_trc"}
    chain.append("setparams=" + ":".join(f"{name}={colour[key]}" for key, name in tags.items()))
    if aspect := colour.get("sample_aspect_ratio"):
        chain.append(f"setsar={aspect}")
    return ["-vf", ",".join(chain), *encoder, *same]


def _encode(path: Path, first: np.ndarray, rest: Iterator[np.ndarray], arguments: list[str]) -> int:
    """Encode to `path` atomically; returns the number of frames."""
    count = 0
    with atomic_file(path) as temporary, tempfile.TemporaryFile() as log:
        process = start_ffmpeg([*arguments, f"file:{temporary}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        assert process.stdin is not None
        try:
            frame: np.ndarray | None = first
            while frame is not None:
                if frame.shape != first.shape or frame.dtype != first.dtype:
                    raise ValueError(f"frame {count} is {frame.dtype} {frame.shape}, not {first.dtype} {first.shape}")
                process.stdin.write(np.ascontiguousarray(frame).data)
                count += 1
                frame = next(rest, None)
            process.stdin.close()
            process.wait()
        except OSError as problem:
            # ffmpeg stopped: its log says why. Windows has EINVAL for a pipe that nobody reads any more. Whatever else
            # went wrong, in reading the frames for one, is told as it is.
            if not _broken_pipe(problem, process):
                raise
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with suppress(OSError):
                process.stdin.close()
        log.seek(0)
        _check_encoded(process.returncode, log.read(MOST_MESSAGES).decode("utf-8", "replace"), path)
    return count


def _broken_pipe(problem: OSError, process: subprocess.Popen[bytes]) -> bool:
    """Check whether an error of a write means that ffmpeg has ended."""
    if isinstance(problem, BrokenPipeError):
        return True
    if problem.errno != errno.EINVAL:
        return False
    try:
        process.wait(5)  # the pipe closes a moment before the process is gone
    except subprocess.TimeoutExpired:
        return False
    return True


def _check_encoded(status: int, messages: str, path: Path) -> None:
    if "No space left on device" in messages:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    if status:
        raise RuntimeError(f"{path} could not be encoded: {messages.strip() or f'ffmpeg ended with status {status}'}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
