"""Read video files: what they hold, and their frames. `atlas.video.writing` writes them.

Everything goes through the ffmpeg that imageio-ffmpeg carries; there is no ffprobe beside it, so what a
file holds is read from ffmpeg's own reports.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

import numpy as np

from atlas.errors import UserError
from atlas.storage.bounds import FASTEST, LARGEST_SIDE, MOST_VIDEO_PIXELS, SLOWEST, is_rate, is_side
from atlas.storage.images import over_black
from atlas.video.coding import Coding, first_coding
from atlas.video.conversion import Conversion, to_rgb
from atlas.video.ffmpeg import DAMAGE, MOST_MESSAGES, input_arguments, reason, start_ffmpeg
from atlas.video.rate import frame_rate, is_variable
from atlas.video.shown import NUMBER, ShownFrames, shown_frames

_DEINTERLACE = "bwdif=mode=send_frame:deint="
"""ffmpeg's filter that makes one whole frame of the two fields of each frame that is interlaced, or of all."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds."""

    width: int
    """Pixels as shown: after the rotation that the file asks for."""
    height: int
    fps: Fraction
    """Frames per second; where frames are not evenly spaced, those of the constant rate that they are resampled to."""
    times: np.ndarray = field(compare=False)
    """(N + 1,) float64: seconds from the start of the file (sound may begin earlier) at which each frame is shown, and the end
    of the last."""
    audio: bool
    coding: Coding
    """How its pixels are stored."""
    deinterlacing: str = ""
    """Filters of ffmpeg that make whole frames of those that consist of two fields; empty where none do."""
    seconds: float = 0.0
    """How long the whole film lasts, as far as it says so."""
    whole: bool = True
    """Whether `times` are of all its frames."""
    changing: bool = False
    """Whether size or colours change on the way."""

    @property
    def frames(self) -> int:
        """Frames that are shown."""
        return len(self.times) - 1

    @property
    def colour(self) -> dict[str, str]:
        """Colour tags as ffmpeg names them (color_range, colorspace, color_primaries, color_trc; only those that are set) and
        `sample_aspect_ratio` where pixels are not square."""
        return dict(self.coding.tags)

    def remarks(self) -> list[str]:
        """Say what is done with frames that are not evenly spaced or not whole, `has ...: ...` each."""
        remarks = []
        if is_variable(self.times, self.fps):
            remarks.append(
                f"has a variable frame rate: resampled by time to a constant {float(self.fps):.6g} frames per second"
            )
        if self.deinterlacing:
            remarks.append("has interlaced frames: deinterlaced with ffmpeg's bwdif")
        return remarks


def probe(path: Path, most: int | None = None) -> VideoInfo:
    """Probe a video file: size, frame rate, times of frames, sound and colour.

    most: frames that are decoded for it (None: all, which takes as long as reading them); what comes after is not looked at.
    Raises UserError for a file that is missing, no video, cut off, or beyond the bounds of what a clip is made of.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file: check the path" if path.exists() else f"{path} is missing: check the path")
    found = shown_frames(path, most)
    header, coding = found.header, first_coding(path, found)
    if not found.frames or not found.step or not coding:
        messages = found.errors or header + found.first
        if too_large := re.search(r"picture size (\d{1,9}x\d{1,9}) ", messages, re.IGNORECASE):
            raise UserError(f"{path} has frames of {too_large[1]}: {MOST_VIDEO_PIXELS} pixels are the most, encode it smaller")
        raise UserError(
            f"{path} is not a readable video or is cut off ({reason(messages)}): "
            "give a complete mp4, mov, webm or gif, or a folder of frames"
        )
    width, height = coding.width, coding.height
    if not (is_side(width) and is_side(height)):
        raise UserError(f"{path} has frames of {width}x{height}: a side has at most {LARGEST_SIDE} pixels, encode it smaller")
    audio = re.search(r"^ +Stream #0:\d+.*?: Audio: ", header, re.MULTILINE) is not None
    printed = re.search(rf"^ +Stream #0:\d+.*?: Video: .*?({NUMBER})(k?) fps", header, re.MULTILINE)
    _refuse_cut_off(path, found)
    fps = frame_rate(found.ticks, found.step, float(printed[1]) * (1000 if printed[2] else 1) if printed else 0.0)
    if not is_rate(float(fps)):
        raise UserError(
            f"{path} has {float(fps):g} frames per second, which is no frame rate ({SLOWEST:g} to {FASTEST:g}): "
            "encode it again at a usual one"
        )
    return VideoInfo(
        width=width,
        height=height,
        fps=fps,
        times=found.ticks * float(found.step),
        audio=audio,
        coding=coding,
        deinterlacing=_deinterlacing(found, coding),
        seconds=found.announced or float(found.ticks[-1] * found.step),
        whole=found.whole,
        changing=found.kinds > 1,
    )


def _deinterlacing(found: ShownFrames, coding: Coding) -> str:
    """Filters for interlaced frames: those that say so, or where none of them says anything, all if the container does."""
    if found.interlaced:
        return f"{_DEINTERLACE}interlaced"
    return f"setfield={coding.fields},{_DEINTERLACE}all" if coding.fields else ""


def _refuse_cut_off(path: Path, found: ShownFrames) -> None:
    """UserError where a file is damaged, or holds less than it claims."""
    if not found.whole:
        return
    if path.suffix.lower() == ".gif" and not _has_end_mark(path):
        raise UserError(f"{path} is cut off (no end mark): copy or export it again")
    if found.failed or DAMAGE.search(found.errors):
        raise UserError(f"{path} is damaged or cut off ({reason(found.errors)}): copy or export it again")
    promised = found.announced
    if promised and len(re.findall(r"^ +Stream #0:", found.header, re.MULTILINE)) == 1:  # others may last longer
        kept, end = (float((found.ticks[-1] - first) * found.step) for first in (found.ticks[0], 0))
        if max(kept, found.started + end) < 0.95 * promised - 2 * kept / found.frames:
            raise UserError(f"{path} is cut off (it holds {kept:.2f} of {promised:.2f} seconds): copy or export it again")


def read_frames(
    path: Path,
    start: int = 0,
    count: int | None = None,
    info: VideoInfo | None = None,
    conversion: Conversion | None = None,
    *,
    deep: bool = False,
) -> Iterator[np.ndarray]:
    """Decode frames `start`, `start + 1`, ... of a video as (H, W, 3) uint8 RGB, as many as `count` (None: to the end).

    deep: uint16 where the film has more than 8 bits. conversion: that of `converted`; None: it is chosen here.
    Frames are those that are shown, each once, whatever its time; interlaced ones are deinterlaced, transparent pixels are put
    over black. Raises UserError, possibly after some frames, where the file is cut off or damaged in that range.
    """
    info = info or probe(path)
    conversion = conversion or converted(path, info)
    channels, kind = conversion.channels, np.dtype("<u2" if deep and conversion.deep else "u1")
    # Where something changes on the way, ffmpeg's filters begin to count anew: frames are counted here then.
    skipped = start if info.changing else 0
    end = "" if count is None or info.changing else f":end_frame={start + count}"
    most = ["-frames:v", str(start + count)] if count is not None and info.changing else []
    trim = f"trim=start_frame={start - skipped}{end}"
    chain = ",".join(part for part in (info.deinterlacing, trim, conversion.filters) if part)
    opened = [*info.coding.decoder_arguments(), *input_arguments(path)]
    command = [
        *("-v", "error", *opened, "-map", "0:V:0", "-fps_mode", "passthrough", "-vf", chain, *most),
        *("-pix_fmt", conversion.layout(deep=kind.itemsize == 2), "-f", "rawvideo", "-"),
    ]
    size = info.width * info.height * channels * kind.itemsize
    wanted = info.frames - start if count is None else count
    done = -skipped
    with tempfile.TemporaryFile() as log, start_ffmpeg(command, stdout=subprocess.PIPE, stderr=log) as process:
        assert isinstance(process.stdout, BufferedReader)
        try:
            while process.stdout.readinto(data := bytearray(size)) == size:
                image = np.frombuffer(data, kind).reshape(info.height, info.width, channels)
                if done >= 0:
                    yield np.ascontiguousarray(image[..., :3]) if info.coding.premultiplied else over_black(image)
                done += 1
            process.stdout.close()
            status = process.wait()
        finally:
            if process.poll() is None:  # the caller stopped early
                process.kill()
        log.seek(0)
        messages = log.read(MOST_MESSAGES).decode("utf-8", "replace")
    if status or done < wanted or DAMAGE.search(messages):
        raise UserError(
            f"{path} is damaged or cut off after frame {start + done} ({reason(messages)}): copy or export it again"
        )


def converted(path: Path, info: VideoInfo) -> Conversion:
    """Choose how a film's frames become RGB (`atlas.video.conversion.to_rgb`)."""
    return to_rgb(path, info.coding, info.seconds)


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
