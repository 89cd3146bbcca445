"""From a film's own colours to RGB as every picture and player has it (BT.709): by which of ffmpeg's filters.

What is near BT.709 stays as it is coded. High dynamic range (PQ, HLG) is tone-mapped; other primaries and curves (BT.2020,
Display P3, linear light) are converted. Where a film does not say its matrix, its size decides, as in players.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.errors import UserError
from atlas.video.coding import Coding
from atlas.video.colour_tags import ASPECT, BT709, SCALER_MATRICES, completed
from atlas.video.ffmpeg import PixelFormat, has_filter, input_arguments, pixel_format, run_ffmpeg, start_ffmpeg

SCALER = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
"""Rounding and chroma interpolation of the conversion to and from RGB: exact, and the same on every machine."""
_HD_LINES = 720
"""Lines from which on browsers take a film that does not say its matrix for BT.709, and below for BT.601."""
_PAL_LINES = (288, 576)
_HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
_WIDE = {"bt2020": "BT.2020", "smpte431": "DCI-P3", "smpte432": "Display P3", "film": "film", "bt470m": "NTSC 1953"}
_CURVES = {"linear": "linear light", "log100": "a logarithmic curve", "log316": "a logarithmic curve"}
_FOREIGN = {  # what neither the scaler nor zscale has
    "colorspace": ("smpte2085", "ycgco-re", "ycgco-ro", "ipt-c2"),
    "color_primaries": ("smpte428", "vgamut"),
    "color_trc": ("smpte428", "vlog"),
}
_IMPLIED = {  # by matrices that the scaler lacks, where a film does not say more
    "bt2020c": {"color_primaries": "bt2020", "color_trc": "bt2020-10"},
    "ictcp": {"color_primaries": "bt2020", "color_trc": "smpte2084"},
}
_TAKEN = (*SCALER_MATRICES, "gbr")
_ALIKE = {"bt1361e": "bt709"}  # a curve that zscale lacks, and the one that it is on [0, 1]
_LEAST_WHITE, _WHITE = 100, 203
"""Nits of white in films of high dynamic range: SDR's own, and what ITU-R BT.2408 grades for."""
_PEAK = 1000
"""Nits that highlights are compressed from."""
_KNEE = 0.5
"""Share of white's light below which tone mapping changes nothing."""
_LOOKS, _LOOK_SIDE, _BRIGHTEST = 8, 128, 99.9


@dataclass(frozen=True)
class Conversion:
    """How a film's frames become RGB."""

    filters: str
    """Filters of ffmpeg, from the decoded frame to RGB."""
    colour: dict[str, str]
    """Colour tags of what is encoded from that RGB."""
    alpha: bool
    deep: bool
    """Whether the film has more than 8 bits."""
    said: str = ""
    """What is converted, `has ...: ...`; empty where colours stay as they are coded."""

    @property
    def channels(self) -> int:
        """3, or 4 with alpha."""
        return 4 if self.alpha else 3

    def layout(self, *, deep: bool) -> str:
        """Name the pixel format of the RGB, with 16 bits where `deep`."""
        return {3: ("rgb24", "rgb48le"), 4: ("rgba", "rgba64le")}[self.channels][deep]


def to_rgb(path: Path, coding: Coding, seconds: float) -> Conversion:
    """Choose how the film at `path`, which lasts some `seconds`, is converted to RGB.

    Raises UserError, with the command that helps, for colours that this ffmpeg cannot convert.
    """
    pixels = pixel_format(coding.pixels)
    tags = _meant(coding, rgb=pixels.rgb)
    _refuse_foreign(path, tags)
    named, matrix = _name(tags, coding.tags), tags["colorspace"]
    if matrix in _TAKEN and not named:
        colour = completed({name: value for name, value in tags.items() if not pixels.rgb or name != "color_range"})
        return Conversion(f"scale={_from(matrix)}{SCALER}", colour, pixels.alpha, pixels.deep)
    needed = ["zscale", *["tonemap"] * (tags["color_trc"] in _HDR)]
    if lacking := [name for name in needed if not has_filter(name)]:
        why = f"{path} has {named or f'colours of the matrix {matrix}'}, and this ffmpeg has no filter {' or '.join(lacking)}"
        raise UserError(f"{why}: {_command(path, tags)}")
    read = _decoded(tags, pixels)
    goal = "primaries=bt709:transfer=bt709:matrix=gbr:range=full"
    if tags["color_trc"] in _HDR:
        linear = f"{read}:primaries={tags['color_primaries']}:matrix=gbr:range=full:transfer=linear:npl={{nits}}"
        linear = f"{linear},format=gbr{'a' * pixels.alpha}pf32le"
        look = linear.replace(SCALER, f"w={_LOOK_SIDE}:h={_LOOK_SIDE}:flags=area")
        white = _white(path, coding, look.format(nits=_LEAST_WHITE), seconds, alpha=pixels.alpha)
        mapped = f"tonemap=mobius:param={_KNEE}:desat=0:peak={_PEAK / white:.4f}"
        chain, how = f"{linear.format(nits=white)},zscale=primaries=bt709,{mapped},zscale={goal}", "tone-mapped"
    else:
        chain, how = f"{read}:{goal}", "converted"
    chain = f"{chain},format=gbr{'a' * pixels.alpha}p16le,scale={SCALER}"
    first = ["-map", "0:V:0", "-frames:v", "1", "-vf", chain, "-f", "null", "-"]
    if run_ffmpeg(["-v", "error", *coding.decoder_arguments(), *input_arguments(path), *first]).returncode:
        raise _not_converted(path, " ".join(tags[name] for name in _FOREIGN))
    colour = {**BT709, **{name: value for name, value in tags.items() if name == ASPECT}}
    return Conversion(chain, colour, pixels.alpha, pixels.deep, f"has {named}: {how} to BT.709" if named else "")


def _decoded(tags: Mapping[str, str], pixels: PixelFormat) -> str:
    """The filters as far as zscale, which is told what it reads, and what to make of it is left to be added."""
    alpha, matrix = "a" * pixels.alpha, tags["colorspace"]
    # The scaler takes no film of certain tags, though it changes the number of bits alone here, or the matrix that it is told.
    called = "setparams=color_primaries=bt709:color_trc=bt709"
    if matrix in _TAKEN:
        chain = f"{called},scale={_from(matrix)}{SCALER},format=gbr{alpha}p16le,zscale=matrixin=gbr:rangein=full"
    else:
        chain = f"{called}:colorspace=bt709,scale={SCALER},format=yuv{alpha}444p16le"
        full = tags["color_range"] in ("pc", "jpeg", "full")
        chain = f"{chain},zscale=matrixin={matrix}:rangein={'full' if full else 'limited'}"
    return f"{chain}:primariesin={tags['color_primaries']}:transferin={_ALIKE.get(tags['color_trc'], tags['color_trc'])}"


def _from(matrix: str) -> str:
    """The scaler's argument for what it reads; RGB needs none."""
    return f"in_color_matrix={SCALER_MATRICES[matrix]}:" if matrix in SCALER_MATRICES else ""


def _meant(coding: Coding, *, rgb: bool) -> dict[str, str]:
    """Complete the tags of a film: by its size where it does not say its matrix, unless other tags say it."""
    tags = dict(coding.tags)
    if coding.pixels.startswith("xyz"):  # the scaler's own conversion knows what these are
        return {**BT709, "colorspace": "gbr"}
    if rgb:
        return {**completed({**tags, "colorspace": "bt709"}), "colorspace": "gbr"}
    if "colorspace" not in tags:
        if tags.get("color_primaries") == "bt2020" or tags.get("color_trc") in _HDR:
            tags["colorspace"] = "bt2020nc"
        elif coding.lines >= _HD_LINES:
            tags["colorspace"] = "bt709"
        else:
            tags["colorspace"] = "bt470bg" if coding.lines in _PAL_LINES else "smpte170m"
    tags = _IMPLIED.get(tags["colorspace"], {}) | tags
    if tags["colorspace"] in ("bt470bg", "smpte170m") and coding.lines >= _HD_LINES:  # of JPEG and VP8, at any size
        tags = {"color_primaries": "bt709", "color_trc": "bt709"} | tags
    return {**completed(tags), "colorspace": tags["colorspace"]}


def _name(tags: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Name what is not like BT.709 in a film's colours; empty where nothing is.

    An ordinary film's primaries must be said by the film itself (`own`): its matrix alone does not show that they are others.
    """
    primaries, curve = _WIDE.get(tags["color_primaries"], ""), tags["color_trc"]
    if curve in _HDR:
        return f"high dynamic range ({_HDR[curve]}{f', {primaries}' if primaries else ''})"
    primaries = primaries if "color_primaries" in own else ""
    return " in ".join(part for part in (_CURVES.get(curve, ""), f"{primaries} colours" * bool(primaries)) if part)


def _refuse_foreign(path: Path, tags: Mapping[str, str]) -> None:
    for name, values in _FOREIGN.items():
        if tags[name] in values:
            raise _not_converted(path, f"{name} {tags[name]}")


def _not_converted(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} has colours that ffmpeg cannot convert ({what}): make a film of BT.709 of it first, in the program that it"
        " comes from, or by a table of its camera's: "
        f'ffmpeg -i "{path}" -vf lut3d=TABLE.cube -colorspace bt709 -color_primaries bt709 -color_trc bt709 OUT.mp4'
    )


def _command(path: Path, tags: Mapping[str, str]) -> str:
    """The advice where this ffmpeg lacks filters."""
    mapped = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius," if tags["color_trc"] in _HDR else ""
    filters = f"{mapped}zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"
    return f'run, with an ffmpeg that has it: ffmpeg -i "{path}" -vf {filters} OUT.mp4'


def _white(path: Path, coding: Coding, look: str, seconds: float, *, alpha: bool) -> int:
    """Find the nits of white in a film of high dynamic range.

    They are 203, but where nothing in the film is as bright, as in one made of an ordinary film, its brightest: a few frames
    spread over it are looked at. look: the filters to planes of linear light, a side of _LOOK_SIDE, 1 at _LEAST_WHITE nits.
    """
    brightest = 0.0
    for number in range(_LOOKS):
        place = ["-ss", f"{seconds * (number + 0.5) / _LOOKS:.3f}"] if number else []  # the first is there in any film
        shown = ["-map", "0:V:0", "-frames:v", "1", "-vf", look, "-f", "rawvideo", "-"]
        command = ["-v", "error", *place, *coding.decoder_arguments(), *input_arguments(path), *shown]
        with start_ffmpeg(command, stderr=subprocess.DEVNULL) as process:
            values = np.frombuffer(process.communicate()[0], "<f4")
        planes = values[: len(values) // _LOOK_SIDE**2 * _LOOK_SIDE**2].reshape(-1, _LOOK_SIDE**2)[: 4 if alpha else 3]
        if len(planes) >= 3:
            light = planes[:3].max(0) * (planes[3] if alpha and len(planes) == 4 else 1)
            brightest = max(brightest, float(np.percentile(light, _BRIGHTEST)))
    return int(np.clip(round(brightest * _LEAST_WHITE), _LEAST_WHITE, _WHITE))
