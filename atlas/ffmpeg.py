"""Running the ffmpeg that imageio-ffmpeg carries, and reading what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import IO

import imageio_ffmpeg

# Containers of moving pictures only. Playlists (which name other files and hosts), text and stills stay out.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpeg,mpegts,mpegvideo,flv,asf,ogg,h264,hevc,mxf,ivf,nut,dv"
DAMAGE = re.compile(
    r"partial file|moov atom not found|invalid data|truncat|error while decoding|corrupt|concealing|ended prematurely"
    r"|invalid nal|error submitting|decoding error|read error|input/output error|invalid .*buffer",
    re.IGNORECASE,
)
"""What ffmpeg's report says of a damaged file (other errors, such as a missing reference frame, may be harmless)."""


def input_arguments(path: Path) -> list[str]:
    """Arguments that open `path` as a film and nothing else: `file:` so that no name is taken for a protocol or an option."""
    return ["-protocol_whitelist", "file,pipe", "-format_whitelist", _CONTAINERS, "-i", f"file:{path}"]


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


def run_ffmpeg(arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run ffmpeg to its end, catching both outputs."""
    with start_ffmpeg(arguments) as process:
        out, said = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, said)


def reason(said: str) -> str:
    """The telling line of ffmpeg's report, without addresses and paths."""
    rows = [re.sub(r"^(\[[^\]]*\] *)+", "", row).strip() for row in said.splitlines()]
    rows = [row for row in rows if row]
    telling = [row for row in rows if DAMAGE.search(row)]
    line = (telling or rows or ["no frames"])[0 if telling else -1]
    return re.sub(r"file:.*?: |Error opening input( files?)?: ", "", line)[:120]
