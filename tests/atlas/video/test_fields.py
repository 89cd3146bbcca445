"""Films whose frames are stored or shown field by field: H.264 of field pictures (PAFF), MPEG-2 with repeated fields."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from atlas.video.reading import probe, read_frames
from tests.atlas.video.test_shown import SHADE, ffmpeg, numbers

COUNT = 20


class _Bits:
    """Writes numbers as H.264 does: of a fixed length, or in Exp-Golomb code."""

    def __init__(self) -> None:
        self.text = ""

    def fixed(self, value: int, length: int) -> None:
        self.text += f"{value:0{length}b}" if length else ""

    def coded(self, *values: int) -> None:
        for value in values:
            digits = f"{value + 1:b}"
            self.text += "0" * (len(digits) - 1) + digits

    def unit(self, kind: int, content: bytes = b"") -> bytes:
        """A NAL unit of what was written, padded to whole bytes, then `content`, which is the rest of a slice."""
        self.text += "" if content else "1"
        self.text += "0" * (-len(self.text) % 8)
        raw = int(self.text, 2).to_bytes(len(self.text) // 8, "big") + content
        return b"\0\0\0\1" + bytes([kind]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", raw)  # nothing may look like a beginning


def field_pictures(shades: list[tuple[int, int]]) -> bytes:
    """H.264 of 32x32 pixels at 25 frames a second, each frame as two pictures: its upper and its lower field, of one grey each.

    Pixels are stored as they are (I_PCM), so that there is nothing to be coded.
    """
    head = _Bits()
    head.fixed(77, 8), head.fixed(0, 8), head.fixed(30, 8)  # main profile, level 3
    head.coded(0, 0, 2, 1)  # names; length of frame_num; frames are shown as they come; one is referred to
    head.fixed(0, 1), head.coded(1, 0)  # 2 macroblocks wide, 1 pair high
    head.fixed(0b001, 3)  # fields, not by macroblock; 8x8 inference
    head.fixed(0, 1), head.fixed(1, 1)  # no cropping; how it is shown:
    head.fixed(0, 4), head.fixed(1, 1), head.fixed(1, 32), head.fixed(50, 32), head.fixed(1, 1), head.fixed(0, 4)
    picture = _Bits()
    picture.coded(0, 0), picture.fixed(0, 2), picture.coded(0, 0, 0), picture.fixed(0, 3), picture.coded(0, 0, 0)
    picture.fixed(0, 3)
    stream = head.unit(0x67) + picture.unit(0x68)
    for number, fields in enumerate(shades):
        for lower, shade in enumerate(fields):
            first = number == 0 and not lower
            part = _Bits()
            part.coded(0, 7, 0), part.fixed(number % 16, 4), part.fixed(1, 1), part.fixed(lower, 1)
            if first:
                part.coded(0), part.fixed(0, 2)
            else:
                part.fixed(0, 1)
            part.coded(0)  # the quality of what is not stored as it is
            part.coded(25)
            block = bytes([shade]) * 256 + bytes([128]) * 128
            second = _Bits()
            second.coded(25)
            second.text += "0" * (-len(second.text) % 8)
            between = int(second.text, 2).to_bytes(len(second.text) // 8, "big")
            stream += part.unit(0x65 if first else 0x61, block + between + block + b"\x80")
    return stream


@pytest.mark.parametrize("name", ["paff.h264", "paff.mkv", "paff.ts", "paff.mp4", "paff.mov"])
def test_frames_that_are_stored_as_two_pictures(tmp_path: Path, name: str) -> None:
    raw = tmp_path / "raw.h264"
    raw.write_bytes(field_pictures([(SHADE * (number + 4),) * 2 for number in range(COUNT)]))
    path = tmp_path / name
    ffmpeg("-r", "50", "-i", str(raw), "-c", "copy", str(path))  # packets: each holds a field
    info = probe(path)
    assert (info.frames, info.fps, info.width, info.height) == (COUNT, 25, 32, 32)
    shown = [float(frame.mean()) for frame in read_frames(path)]
    assert np.diff(shown) == pytest.approx(SHADE * 255 / 219, abs=1.01), "each is there once, in order"
    assert "interlaced" in "".join(info.remarks())


def pulled_down(stream: bytes) -> bytes:
    """Flag every other picture of progressive MPEG-2 to have its first field shown again, so that 4 of them last 5 frames.

    As on DVDs of films: the flags alone say so, nothing else of the stream changes.
    """
    altered, number = bytearray(stream), 0
    for match in re.finditer(re.escape(b"\0\0\1\xb5"), stream):
        at = match.end()
        if stream[at] >> 4 == 1:  # of the sequence: it may hold fields
            altered[at + 1] &= ~0x08
        elif stream[at] >> 4 == 8:  # of a picture: upper field first, first field again; whole frames all the same
            upper_first, again = ((1, 1), (0, 0), (0, 1), (1, 0))[number % 4]
            altered[at + 3] = altered[at + 3] & ~0x82 | upper_first << 7 | again << 1
            altered[at + 4] |= 0x80
            number += 1
    return bytes(altered)


@pytest.mark.parametrize("name", ["soft.m2v", "soft.mpg", "soft.ts", "soft.mkv", "soft.vob"])
def test_films_whose_fields_are_shown_again(tmp_path: Path, name: str) -> None:
    """24 frames a second that say how they fill 30: the frames are shown, each once, and none is deinterlaced."""
    frames = b"".join(bytes([SHADE * (number + 1)]) * (64 * 64) for number in range(48))
    raw = ("-f", "rawvideo", "-pix_fmt", "gray", "-video_size", "64x64", "-framerate", "30000/1001", "-i", "pipe:0")
    codec = ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "0", "-g", "12", "-pix_fmt", "yuv420p", "-f", "mpeg2video")
    (tmp_path / "soft.m2v").write_bytes(pulled_down(ffmpeg(*raw, *codec, "-", stdin=frames)))
    if name != "soft.m2v":
        times = [] if name in ("soft.mpg", "soft.vob") else ["-fflags", "+genpts"]  # those have times of their own
        ffmpeg(*times, "-i", str(tmp_path / "soft.m2v"), "-c", "copy", str(tmp_path / name))
    info = probe(tmp_path / name)
    assert info.frames == 48 and info.deinterlacing == "" and len(numbers(tmp_path / name)) == 48
    assert info.fps == Fraction(24000, 1001) and info.remarks() == []


def test_films_that_were_telecined_into_fields(tmp_path: Path) -> None:
    """Two of five frames hold fields of two pictures: such a film is 30 interlaced frames a second, and said to be that."""
    frames = b"".join(bytes([SHADE * (number + 1)]) * (64 * 64) for number in range(48))
    raw = ("-f", "rawvideo", "-pix_fmt", "gray", "-video_size", "64x64", "-framerate", "24000/1001", "-i", "pipe:0")
    telecined = (
        "-vf",
        "telecine=pattern=23",
        "-c:v",
        "mpeg2video",
        "-q:v",
        "2",
        "-flags",
        "+ilme+ildct",
        "-pix_fmt",
        "yuv420p",
    )
    ffmpeg(*raw, *telecined, str(tmp_path / "hard.ts"), stdin=frames)
    info = probe(tmp_path / "hard.ts")
    assert info.fps == Fraction(30000, 1001) and abs(info.frames - 60) <= 1
    assert info.remarks() == ["has interlaced frames: deinterlaced with ffmpeg's bwdif"]
