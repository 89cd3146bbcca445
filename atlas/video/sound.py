"""Sound of the part of a film that a clip takes: the first track that decodes, in a layout that the new film's codec takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.video.ffmpeg import NO_TEXTS, Ended, input_arguments, reason, run_ffmpeg
from atlas.video.shown import ON_ONE_CLOCK

_MOST_TRACKS = 16
_PLAIN = (*NO_TEXTS, "-fflags", "+bitexact", "-flags:a", "+bitexact")
_RUN_UP = 1.0
"""Seconds before its start from which on sound is decoded: the first packets after a seek may need those before."""
_FILLED = "aresample=async=1:min_hard_comp=0.04:first_pts=0"
"""ffmpeg's filter that fills with silence what is missing before the first sample and between others."""


@dataclass(frozen=True)
class Sound:
    """A part of a film's sound."""

    path: Path
    start: float
    """Seconds from the start of the file: when its picture's first frame that is taken is shown (`VideoInfo.times`)."""
    seconds: float


@dataclass(frozen=True)
class SoundCodec:
    """How a container holds sound."""

    encoder: tuple[str, ...]
    """Name of ffmpeg's encoder and its arguments."""
    container: tuple[str, ...]
    """Arguments of ffmpeg for the container."""
    copied: frozenset[str] = frozenset()
    """Codecs that are taken over as they are."""
    layouts: str = ""
    """Channel layouts that the encoder takes, as ffmpeg's `aformat` lists them; empty: any."""


def sound_tracks(path: Path) -> list[str]:
    """List the sound tracks of a film by their codecs, in the order of the file; `none` where ffmpeg knows no codec."""
    header = run_ffmpeg(["-v", "info", *input_arguments(path)]).messages
    return re.findall(r"^ +Stream #0:\d+.*?: Audio: (\w+)", header, re.MULTILINE)[:_MOST_TRACKS]


def encode_sound(sound: Sound, target: Path, codec: SoundCodec) -> str:
    """Encode a part of a film's sound to `target`, from its first track that can be decoded; '' or why there is none.

    Channels go into the nearest layout that the codec takes. Sound that begins with the film is copied where the container
    holds its codec: copied sound can only be cut between its packets.
    """
    tracks = sound_tracks(sound.path)
    problem = "it has no sound"
    for track, name in enumerate(tracks):
        ended, problem = Ended(1, ""), ""
        for arguments in _ways(sound, track, name, codec):
            output = [*_PLAIN, *codec.container, f"file:{target}"]
            ended = run_ffmpeg(["-v", "warning", "-y", *arguments, *output, *_clock(sound)])
            if ended.returncode == 0 and "nothing was encoded" not in ended.messages:
                return ""
            problem = problem or reason(ended.messages)
        if ended.returncode == 0:
            problem = "it has no sound at that time"
    return problem if len(tracks) < 2 else f"none of its {len(tracks)} sound tracks will do: {problem}"


def _ways(sound: Sound, track: int, name: str, codec: SoundCodec) -> Iterator[list[str]]:
    """Arguments of ffmpeg that encode a track, one way after the other until one works."""
    seek = max(0.0, sound.start - _RUN_UP)
    place = ["-ss", f"{seek:.6f}"] if seek else []  # a seek to the very beginning may lose what begins a little before
    opened = [*place, *input_arguments(sound.path), "-map", f"0:a:{track}", "-t", f"{sound.seconds:.6f}"]
    if sound.start == 0 and name in codec.copied and _decodes(opened):
        yield [*opened, "-c:a", "copy"]
    begun = sound.start - seek
    in_time = f"atrim=start={begun:.6f},asetpts=PTS-{begun:.6f}/TB,{_FILLED}"
    # A layout that ffmpeg cannot convert (nine channels that nobody named) leaves the first two channels, or the one.
    layouts = [f"aformat=channel_layouts={codec.layouts}" if codec.layouts else "anull"]
    for layout in [*layouts, "pan=stereo|c0=c0|c1=c1", "pan=mono|c0=c0"]:
        yield [*opened, "-af", f"{in_time},{layout}", "-c:a", *codec.encoder]


def _clock(sound: Sound) -> list[str]:
    """A second output, of nothing, that has ffmpeg count time as where the picture's times were listed."""
    return [*ON_ONE_CLOCK, "-c:v", "copy", "-t", f"{sound.seconds:.6f}", "-f", "null", "-"]


def _decodes(opened: list[str]) -> bool:
    ended = run_ffmpeg(["-v", "warning", *opened, "-f", "null", "-"])
    return ended.returncode == 0 and "nothing was encoded" not in ended.messages
