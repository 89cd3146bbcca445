"""A film's colour tags: which values they may have, and what is meant where some are missing.

They are the only texts of a stranger's file that become part of an ffmpeg filter. A filter's arguments are a language of their
own, which reads and writes any file. So only words of ffmpeg's own tables pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ASPECT = "sample_aspect_ratio"
"""Width of a pixel over its height, `4/3`: two whole numbers."""
_UNSET = "auto unknown"
_OPEN = frozenset(f"{_UNSET} unspecified".split())
KNOWN = {
    "color_range": frozenset(f"{_UNSET} unspecified tv mpeg limited pc jpeg full".split()),
    "colorspace": frozenset(
        f"{_UNSET} gbr bt709 fcc bt470bg smpte170m smpte240m ycgco ycgco-re ycgco-ro bt2020nc bt2020c smpte2085"
        " chroma-derived-nc chroma-derived-c ictcp ipt-c2".split()
    ),
    "color_primaries": frozenset(
        f"{_UNSET} bt709 bt470m bt470bg smpte170m smpte240m film bt2020 smpte428 smpte431 smpte432 jedec-p22 ebu3213"
        " vgamut".split()
    ),
    "color_trc": frozenset(
        f"{_UNSET} bt709 bt470m bt470bg smpte170m smpte240m linear log100 log316 iec61966-2-4 bt1361e iec61966-2-1"
        " bt2020-10 bt2020-12 smpte2084 smpte428 arib-std-b67 vlog".split()
    ),
}
"""Values of each tag, as ffmpeg's `setparams` lists them."""
BT709 = {"color_range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
"""Of RGB that nothing else is known of, and of all that is converted."""
SCALER_MATRICES = {
    "bt709": "bt709",
    "bt470bg": "bt470bg",
    "smpte170m": "smpte170m",
    "bt2020nc": "bt2020",
    "fcc": "fcc",
    "smpte240m": "smpte240m",
}
"""Matrices between RGB and YUV that ffmpeg's scaler has, as tags, and by the names that it takes as arguments."""
_OF_MATRIX = {  # primaries and transfer that a matrix was standardised with
    "bt470bg": ("bt470bg", "smpte170m"),
    "smpte170m": ("smpte170m", "smpte170m"),
    "smpte240m": ("smpte240m", "smpte240m"),
    "bt2020nc": ("bt2020", "bt2020-10"),
    "fcc": ("bt470m", "bt470m"),
}
_RATIO = re.compile(r"([0-9]{1,10})/([0-9]{1,10})")
_LARGEST = 2**31 - 1  # of a fraction's parts in ffmpeg


def is_known_tag(name: object, value: object) -> bool:
    """Whether a tag and its value are ones that ffmpeg has."""
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    if name == ASPECT:
        ratio = _RATIO.fullmatch(value)
        return ratio is not None and all(1 <= int(part) <= _LARGEST for part in ratio.groups())
    return value in KNOWN.get(name, ())


def completed(colour: Mapping[str, str]) -> dict[str, str]:
    """Fill in what a film's colour tags leave open: the primaries and transfer that go with its matrix, else BT.709.

    What has half of its tags is shown differently by every player. A matrix that ffmpeg's scaler lacks becomes BT.709's.
    """
    known = {name: value for name, value in colour.items() if value not in _OPEN}
    matrix = known.get("colorspace", "")
    matrix = matrix if matrix in SCALER_MATRICES else "bt709"
    primaries, transfer = _OF_MATRIX.get(matrix, ("bt709", "bt709"))
    usual = {"color_range": "tv", "color_primaries": primaries, "color_trc": transfer}
    return usual | known | {"colorspace": matrix}


def check_colour(colour: object) -> None:
    """ValueError where a film's colour tags are anything but tags with values that ffmpeg has."""
    if not isinstance(colour, Mapping):
        raise ValueError("its colour tags are no table")
    for name, value in colour.items():
        if name != ASPECT and name not in KNOWN:
            raise ValueError("it has a colour tag that ffmpeg has not")
        if not is_known_tag(name, value):
            raise ValueError(f"its {name} is none that ffmpeg has")
