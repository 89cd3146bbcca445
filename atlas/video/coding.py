"""How a film's pixels are stored: pixel format, size, colour tags, transparency, from what ffmpeg says of its first frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atlas.video.colour_tags import ASPECT, KNOWN, is_known_tag
from atlas.video.ffmpeg import pixel_format
from atlas.video.shown import ShownFrames, shown_frames

_COLOUR_KEYS = {
    "color_range": "color_range",
    "colorspace": "color_space",
    "color_primaries": "color_primaries",
    "color_trc": "color_trc",
}
_UNKNOWN = ("unknown", "unspecified", "reserved", "gbr")
_TAGS = r"(?:\(((?:[^()]|\(swapped\))*)\))?"
"""Behind a pixel format, in a regular expression: `(tv, bt709, top coded first (swapped))`, or nothing."""
_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Of WebM with transparency, which ffmpeg's own decoders leave out."""


@dataclass(frozen=True)
class Coding:
    """How a film's pixels are stored."""

    pixels: str
    """Name of ffmpeg's pixel format."""
    lines: int
    """Height before any rotation."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Colour tags that it has, and the aspect of its pixels where they are not square."""
    width: int = 0
    """Pixels as shown: after the rotation that the file asks for."""
    height: int = 0
    decoder: str = ""
    """The decoder to choose where ffmpeg's own leaves the transparency out."""
    premultiplied: bool = False
    """Whether colours are multiplied by alpha already."""
    fields: str = ""
    """Which field comes first by what the container says, `tff` or `bff`; empty: frames are whole, or it does not say."""

    def decoder_arguments(self) -> list[str]:
        """Arguments of ffmpeg that stand before its input."""
        return ["-c:v", self.decoder] if self.decoder else []


def first_coding(path: Path, found: ShownFrames) -> Coding | None:
    """Read from ffmpeg's report how the pixels of a film's first frame are stored; None where it decoded none."""
    coding = _said(found, "")
    codec = re.search(r"Stream #0:\d+ -> #0:0 \((\w+)", found.first)
    marked = re.search(r"^ +alpha_mode +: +1\s*$", found.header, re.MULTILINE)
    if coding and marked and codec and (decoder := _DECODERS.get(codec[1])):
        clear = _said(shown_frames(path, 1, decoder), decoder)
        if clear and pixel_format(clear.pixels).alpha:
            return clear
    return coding


def _said(found: ShownFrames, decoder: str) -> Coding | None:
    shown = re.search(r"\bn: *0 .*? fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d{1,9})x(\d{1,9})", found.first)
    if not shown:
        return None
    number = re.search(r"Stream #0:(\d+) -> #0:0 ", found.first)
    line = rf"^ +Stream #0:{number[1] if number else 0}\b.*?: Video: .*?, \w+{_TAGS}, \d{{1,9}}x(\d{{1,9}})\b"
    stored = re.search(line, found.header, re.MULTILINE)
    # Some decoders keep to themselves what the container says of colours, where the stream says nothing: players listen to it.
    tags = _of_container(stored[1] or "") if stored else {}
    tags |= {key: tag for key, name in _COLOUR_KEYS.items() if (tag := _tag(found.first, name))}
    if re.search(r"^ +DOVI configuration record: .*\bprofile: 5,", found.header, re.MULTILINE):
        tags["colorspace"] = "ipt-c2"  # Dolby Vision of its own colours, which the stream does not name
    if pixel_format(shown[1]).rgb:
        tags.pop("color_range", None)  # says nothing about the YUV that the edited video will hold
    if shown[2] != shown[3] and shown[2] != "0":
        tags[ASPECT] = f"{shown[2]}/{shown[3]}"
    tags = {key: value for key, value in tags.items() if value not in _UNKNOWN and is_known_tag(key, value)}
    width, height = int(shown[4]), int(shown[5])
    premultiplied = "alpha_mode:premultiplied" in found.first
    first = re.search(r"\b(top|bottom) (?:coded )?first", (stored[1] or "") if stored else "")
    fields = f"{first[1][0]}ff" if first else ""
    return Coding(shown[1], int(stored[2]) if stored else height, tags, width, height, decoder, premultiplied, fields)


def _of_container(said: str) -> dict[str, str]:
    """Read colour tags as ffmpeg prints them behind a stream's pixel format: `tv, bt2020nc/bt2020/smpte2084, progressive`."""
    tags = {}
    for word in said.split(", "):
        three = word.split("/") if word.count("/") == 2 else [word] * 3
        if word in ("tv", "pc"):
            tags["color_range"] = word
        elif three[0] in KNOWN["colorspace"]:
            tags |= dict(zip(("colorspace", "color_primaries", "color_trc"), three, strict=True))
    return tags


def _tag(messages: str, name: str) -> str | None:
    match = re.search(rf"\b{name}:([\w-]+)", messages)
    return None if match is None or match[1] in _UNKNOWN else match[1]
