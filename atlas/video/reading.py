"""Read video files: what they hold, and their frames. `atlas.video.writing` writes them.

Everything goes through the ffmpeg that imageio-ffmpeg carries; there is no ffprobe beside it, so what a
file holds is read from ffmpeg's own reports (one decoded frame, and the list of packets).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

import numpy as np

from atlas.errors import UserError
from atlas.storage.bounds import FASTEST, LARGEST_SIDE, MOST_PACKETS, MOST_VIDEO_PIXELS, SLOWEST, is_rate, is_side
from atlas.video.colour_tags import ASPECT, is_known_tag
from atlas.video.ffmpeg import DAMAGE, MOST_MESSAGES, input_arguments, reason, run_ffmpeg, start_ffmpeg

SCALER = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
"""Rounding and chroma interpolation of the conversion to and from RGB: exact, and the same on every machine."""
_COLOUR_KEYS = {
    "color_range": "color_range",
    "colorspace": "color_space",
    "color_primaries": "color_primaries",
    "color_trc": "color_trc",
}
_NO_TEXTS = ("-map_metadata", "-1", "-map_chapters", "-1")
_ROWS = 128
_LATEST_START = 86400.0
"""Seconds by which the first frame of a video may be later than its sound."""
_LONGEST_LOOK = 120.0
"""Seconds within which the first frame of a video must be there."""
_NUMBER = r"\d{1,18}(?:\.\d{1,18})?"


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds."""

    width: int
    """Pixels as shown: after the rotation that the file asks for."""
    height: int
    fps: Fraction
    """Frames per second; the mean where the file's frames are not evenly spaced."""
    frames: int
    """Frames announced by the container."""
    audio: bool
    colour: dict[str, str] = field(default_factory=dict)
    """Colour tags as ffmpeg names them (color_range, colorspace, color_primaries, color_trc; only those that are set)
    and `sample_aspect_ratio` where pixels are not square."""
    alpha: bool = False
    audio_codec: str = ""
    video_offset: float = 0.0
    """Seconds from the start of the file to its first frame (sound may begin earlier)."""


def probe(path: Path) -> VideoInfo:
    """Probe a video file: size, frame rate, number of frames, sound and colour.

    Raises UserError for a file that is missing, no video, cut off, or beyond the bounds of what a clip is made of.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file: check the path" if path.exists() else f"{path} is missing: check the path")
    first = ["-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo", *_NO_TEXTS, "-f", "null", "-"]
    report = run_ffmpeg(["-v", "info", "-threads", "1", *input_arguments(path), *first], _LONGEST_LOOK)
    messages = report.messages
    # The file's own texts stand above the mapping, and could say anything.
    header, _, work = messages.rpartition("Stream mapping:")
    shown = re.search(r"\bn: *0 .*? fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d{1,9})x(\d{1,9})", work)
    if report.returncode or not shown:
        if too_large := re.search(r"picture size (\d{1,9}x\d{1,9}) ", messages, re.IGNORECASE):
            raise UserError(f"{path} has frames of {too_large[1]}: {MOST_VIDEO_PIXELS} pixels are the most, encode it smaller")
        raise UserError(
            f"{path} is not a readable video or is cut off ({reason(messages)}): "
            "give a complete mp4, mov, webm or gif, or a folder of frames"
        )
    width, height = int(shown[4]), int(shown[5])
    if not (is_side(width) and is_side(height)):
        raise UserError(f"{path} has frames of {width}x{height}: a side has at most {LARGEST_SIDE} pixels, encode it smaller")
    colour = {key: tag[1] for key, name in _COLOUR_KEYS.items() if (tag := _tag(work, name))}
    if re.match(r"(rgb|bgr|gbr|argb|abgr|pal8)", shown[1]):
        colour.pop("color_range", None)  # says nothing about the YUV that the edited video will hold
    if shown[2] != shown[3] and shown[2] != "0":
        colour[ASPECT] = f"{shown[2]}/{shown[3]}"
    colour = {key: value for key, value in colour.items() if is_known_tag(key, value)}
    sound = re.search(r"^ +Stream #0:\d+.*?: Audio: (\w+)", header, re.MULTILINE)
    started = re.search(rf"^ {{2}}Duration: .*?start: (-?{_NUMBER})", header, re.MULTILINE)
    announced = re.search(rf"^ {{2}}Duration: (\d{{1,18}}):(\d{{1,2}}):({_NUMBER})", header, re.MULTILINE)
    printed = re.search(rf"^ +Stream #0:\d+.*?: Video: .*?({_NUMBER})(k?) fps", header, re.MULTILINE)
    if path.suffix.lower() == ".gif" and not _has_end_mark(path):
        raise UserError(f"{path} is cut off (no end mark): copy or export it again")
    times, step = _packet_times(path)
    if announced and not sound:
        promised = int(announced[1]) * 3600 + int(announced[2]) * 60 + float(announced[3])
        kept = float((times[-1] - times[0]) * step)
        if kept < 0.95 * promised - 2 * kept / len(times):
            raise UserError(f"{path} is cut off (it holds {kept:.2f} of {promised:.2f} seconds): copy or export it again")
    fps = _frame_rate(times, step, float(printed[1]) * (1000 if printed[2] else 1) if printed else 0.0)
    if not is_rate(float(fps)):
        raise UserError(
            f"{path} has {float(fps):g} frames per second, which is no frame rate ({SLOWEST:g} to {FASTEST:g}): "
            "encode it again at a usual one"
        )
    return VideoInfo(
        width=width,
        height=height,
        fps=fps,
        frames=len(times) - 1,
        audio=sound is not None,
        colour=colour,
        alpha=bool(re.match(r"(rgba|bgra|argb|abgr|yuva|gbrap|ya\d|pal8)", shown[1])),
        audio_codec=sound[1] if sound else "",
        video_offset=min(max(0.0, float(times[0] * step) - float(started[1])), _LATEST_START) if started else 0.0,
    )


def read_frames(path: Path, start: int = 0, count: int | None = None, info: VideoInfo | None = None) -> Iterator[np.ndarray]:
    """Decode frames `start`, `start + 1`, ... of a video as (H, W, 3) uint8 RGB, as many as `count` (None: to the end).

    Every stored frame counts once, whatever its time stamp; transparent pixels are put over black.
    Raises UserError, possibly after some frames, where the file is cut off or damaged in that range.
    """
    info = info or probe(path)
    channels = 4 if info.alpha else 3
    trim = f"trim=start_frame={start}" + (f":end_frame={start + count}" if count is not None else "")
    command = [
        *("-v", "error", *input_arguments(path), "-map", "0:V:0", "-fps_mode", "passthrough", "-vf", f"{trim},scale={SCALER}"),
        *("-pix_fmt", "rgba" if info.alpha else "rgb24", "-f", "rawvideo", "-"),
    ]
    size = info.width * info.height * channels
    wanted = info.frames - start if count is None else count
    done = 0
    with tempfile.TemporaryFile() as log, start_ffmpeg(command, stdout=subprocess.PIPE, stderr=log) as process:
        assert isinstance(process.stdout, BufferedReader)
        try:
            while process.stdout.readinto(data := bytearray(size)) == size:
                yield over_black(np.frombuffer(data, np.uint8).reshape(info.height, info.width, channels))
                done += 1
            process.stdout.close()
            status = process.wait()
        finally:
            if process.poll() is None:  # the caller stopped early
                process.kill()
        log.seek(0)
        messages = log.read(MOST_MESSAGES).decode("utf-8", "replace")
    # Some codecs keep invisible frames in packets of their own: a few frames fewer than packets mean nothing by themselves.
    short = done < wanted and (bool(messages.strip()) or done < 0.95 * wanted)
    if status or short or DAMAGE.search(messages):
        raise UserError(
            f"{path} is damaged or cut off after frame {start + done} ({reason(messages)}): copy or export it again"
        )


def over_black(image: np.ndarray) -> np.ndarray:
    """Composite transparent pixels over black: (H, W, 3|4) uint8 or uint16 as (H, W, 3)."""
    if image.shape[2] == 3:
        return image
    top, result = np.iinfo(image.dtype).max, np.empty((*image.shape[:2], 3), image.dtype)
    for start in range(0, len(image), _ROWS):  # the wide numbers take four times the memory of the frame
        part = image[start : start + _ROWS]
        result[start : start + _ROWS] = (part[:, :, :3].astype(np.uint32) * part[:, :, 3:] + top // 2) // top
    return result


def exact_rate(fps: Fraction | float) -> Fraction:
    """The frame rate that a float stands for: a whole number, n * 1000/1001, or the nearest simple fraction.

    Raises ValueError for a number that is no frame rate.
    """
    if not is_rate(float(fps)):
        raise ValueError(f"{float(fps):g} is no frame rate")
    if isinstance(fps, Fraction):
        return fps
    return _snapped(float(fps), 1e-6) or Fraction(float(fps)).limit_denominator(10000)


def _snapped(rate: float, tolerance: float) -> Fraction | None:
    """Find the usual frame rate nearest to `rate`, within a relative tolerance."""
    usual = [
        Fraction(max(1, round(rate))),
        Fraction(max(1, round(rate * 1.001)) * 1000, 1001),
        Fraction(max(1, round(2 * rate)), 2),
    ]
    best = min(usual, key=lambda candidate: abs(float(candidate) - rate))
    return best if abs(float(best) - rate) <= tolerance * rate else None


def _frame_rate(times: list[int], step: Fraction, printed: float) -> Fraction:
    """Compute frames per second from frame times in `step` seconds (the last is the end) and ffmpeg's two printed decimals."""
    steps = np.diff(times)
    if len(steps) and steps[0] > 0 and (steps == steps[0]).all() and 1 / (int(steps[0]) * step) <= 1000:
        exact = 1 / (int(steps[0]) * step)
        if step < Fraction(1, 1500):  # finer than milliseconds: what it says is what is meant
            return exact
    span = (times[-1] - times[0]) * step
    if span <= 0:
        return exact_rate(printed) if is_rate(printed) else Fraction(24)
    mean = len(steps) / float(span)
    rounding = 1.5 * float(step / span)
    # The header's rate (two decimals) decides between near ones such as 29.97 and 30, if the time stamps allow it.
    if printed and abs(printed / mean - 1) <= rounding + 0.006 / mean and (known := _snapped(printed, 0.006 / printed)):
        return known
    return _snapped(mean, max(rounding, 1e-5)) or Fraction(mean).limit_denominator(1001)


def _packet_times(path: Path) -> tuple[list[int], Fraction]:
    """Display times of all packets and the end of the last, in units of the returned step (seconds).

    Raises UserError where the file is damaged, or holds more packets than any film of use has.
    """
    listed = ["-map", "0:V:0", "-c", "copy", *_NO_TEXTS, "-f", "framecrc", "-"]
    command = ["-v", "error", "-copyts", *input_arguments(path), *listed]
    presented, durations, step = array("q"), array("q"), Fraction(0)
    with tempfile.TemporaryFile() as log, start_ffmpeg(command, stderr=log) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                row = line.decode("ascii", "replace").split(",")
                if unit := re.match(r"#tb 0: (\d+)/(\d*[1-9]\d*)", row[0]):
                    step = Fraction(int(unit[1]), int(unit[2]))
                elif len(row) >= 5 and not row[0].startswith("#") and (ticks := _ticks(row[2], row[1])) is not None:
                    presented.append(ticks)
                    durations.append(max(0, int(row[3])))
                if len(presented) > MOST_PACKETS:
                    raise UserError(f"{path} holds more than {MOST_PACKETS} frames: cut out the part that is needed")
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
        log.seek(0)
        messages = log.read(MOST_MESSAGES).decode("utf-8", "replace")
    if not presented or not step or DAMAGE.search(messages):
        raise UserError(f"{path} is damaged or cut off ({reason(messages)}): copy or export it again")
    order = np.lexsort((durations, presented))
    times = np.array(presented)[order].tolist()
    last = durations[order[-1]] or (times[-1] - times[-2] if len(times) > 1 else 1)
    return [*times, times[-1] + last], step


def _ticks(presented: str, decoded: str) -> int | None:
    """When a packet is shown, or decoded where it does not say; None where it says neither."""
    for value in (presented.strip(), decoded.strip()):
        if value.lstrip("-").isdigit():
            return int(value)
    return None


def _has_end_mark(path: Path) -> bool:
    """Whether a GIF ends with its end mark, zeros apart."""
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        while position:
            start = max(0, position - (1 << 16))
            stream.seek(start)
            if end := stream.read(position - start).rstrip(b"\0"):
                return end.endswith(b"\x3b")
            position = start
    return False


def _tag(messages: str, name: str) -> re.Match[str] | None:
    match = re.search(rf"\b{name}:([\w-]+)", messages)
    return None if match is None or match[1] in ("unknown", "unspecified", "reserved", "gbr") else match
