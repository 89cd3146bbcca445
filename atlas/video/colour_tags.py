"""A film's colour tags: the only texts of a stranger's file that become part of an ffmpeg filter.

A filter's arguments are a language of their own, which reads and writes any file. So only words of ffmpeg's own tables pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ASPECT = "sample_aspect_ratio"
"""Width of a pixel over its height, `4/3`: two whole numbers."""
_UNSET = "auto unknown"
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


def check_colour(colour: object) -> None:
    """ValueError where a film's colour tags are anything but tags with values that ffmpeg has."""
    if not isinstance(colour, Mapping):
        raise ValueError("its colour tags are no table")
    for name, value in colour.items():
        if name != ASPECT and name not in KNOWN:
            raise ValueError("it has a colour tag that ffmpeg has not")
        if not is_known_tag(name, value):
            raise ValueError(f"its {name} is none that ffmpeg has")
