"""Running the ffmpeg that imageio-ffmpeg carries, and reading what it says."""

from __future__ import annotations

import re
import subprocess
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import imageio_ffmpeg

from atlas.storage.bounds import MOST_VIDEO_PIXELS

# Containers of moving pictures only. Playlists (which name other files and hosts), text and stills stay out.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,webp_anim,mpeg,mpegts,mpegvideo,flv,asf,ogg,h264,hevc,mxf,ivf,nut,dv,"
    "obu,yuv4mpegpipe"
)
NO_TEXTS = ("-map_metadata", "-1", "-map_chapters", "-1")
"""Arguments of an output that takes over none of the source's texts."""
DAMAGE = re.compile(
    r"partial file|moov atom not found|invalid data|truncat|error while decoding|corrupt|concealing|ended prematurely"
    r"|invalid nal|error submitting|decoding error|read error|input/output error|invalid .*buffer",
    re.IGNORECASE,
)
"""What ffmpeg's report says of a damaged file (other errors, such as a missing reference frame, may be harmless)."""


MOST_MESSAGES = 4 << 20
"""Bytes of ffmpeg's report that are read: a damaged file may have it say a line for each of millions of packets."""
_LARGEST_BLOCK = 152 << 20
"""Bytes that ffmpeg may ask for at once: four for each of the most pixels. Tables that only a header claims would be more."""


@dataclass(frozen=True)
class Ended:
    """How a run of ffmpeg ended, and its report."""

    returncode: int
    messages: str


def input_arguments(path: Path) -> list[str]:
    """Arguments that open `path` as a film and nothing else: `file:` so that no name is taken for a protocol or an option.

    Frames of more pixels than a clip's source may have are refused before memory is taken for them.
    """
    bounds = ["-max_alloc", str(_LARGEST_BLOCK), "-max_pixels", str(MOST_VIDEO_PIXELS)]
    return [*bounds, "-protocol_whitelist", "file,pipe", "-format_whitelist", _CONTAINERS, "-i", f"file:{path}"]


def start_ffmpeg(
    arguments: list[str],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: IO[bytes] | int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start ffmpeg; it reads nothing from the terminal unless `stdin` is a pipe."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner"]
    command += [] if stdin == subprocess.PIPE else ["-nostdin"]
    return subprocess.Popen([*command, *arguments], stdin=stdin, stdout=stdout, stderr=stderr)


def run_ffmpeg(arguments: list[str], seconds: float | None = None) -> Ended:
    """Run ffmpeg to its end, and read its report.

    It is stopped where the report grows beyond all measure, or after some `seconds`; the report's last line says so.
    """
    report = bytearray()
    with start_ffmpeg(arguments, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop) if seconds is not None else None
        if timer:
            timer.start()
        try:
            while len(report) < MOST_MESSAGES and (block := process.stderr.read(1 << 16)):
                report += block
            if len(report) >= MOST_MESSAGES:
                process.kill()
                report += b"\nffmpeg reports without end"
            process.wait()
        finally:
            if process.poll() is None:  # interrupted
                process.kill()
            if timer:
                timer.cancel()
    if late.is_set():
        report += b"\nffmpeg finds no end"
    return Ended(process.returncode, report.decode("utf-8", "replace"))


@dataclass(frozen=True)
class PixelFormat:
    """What one of ffmpeg's pixel formats holds."""

    alpha: bool
    deep: bool
    """Whether a channel has more than 8 bits."""
    rgb: bool
    """Whether it holds colours, and not luma and chroma; XYZ, which becomes RGB without tags, counts too."""


def pixel_format(name: str) -> PixelFormat:
    """Look up a pixel format by ffmpeg's name; one that it does not list is taken for 8-bit luma and chroma."""
    row = re.search(rf"^\S{{5}} +{re.escape(name)} +(\d+) +\d+ +([\d-]+)", _listed("-pix_fmts"), re.MULTILINE)
    channels, depths = (int(row[1]), row[2].split("-")) if row else (3, ["8"])
    rgb = re.search("rgb|bgr|gbr|pal8|bayer|xyz", name) is not None
    return PixelFormat(channels in (2, 4) or name == "pal8", any(int(depth) > 8 for depth in depths), rgb)


def has_filter(name: str) -> bool:
    """Check whether this ffmpeg was built with a filter."""
    return re.search(rf"^ \S+ +{re.escape(name)} ", _listed("-filters"), re.MULTILINE) is not None


@cache
def _listed(what: str) -> str:
    with start_ffmpeg(["-v", "error", what], stderr=subprocess.DEVNULL) as process:
        return process.communicate()[0].decode("utf-8", "replace")


def reason(messages: str) -> str:
    """Pick the telling line of ffmpeg's report, without addresses and paths."""
    rows = [re.sub(r"^(\[[^\]]*\] *)+", "", row).strip() for row in messages.splitlines()]
    rows = [row for row in rows if row and not row.startswith(("frame=", "[info] frame="))]  # how far it is
    telling = [row for row in rows if DAMAGE.search(row)]
    line = (telling or rows or ["no frames"])[0 if telling else -1]
    return re.sub(r"file:.*?: |Error opening input( files?)?: ", "", line)[:120]
