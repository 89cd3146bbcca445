"""Filters that need no model: each is a function of the frame and its options; all are deterministic.

A filter's keyword options, their defaults and its docstring are what `--filter help` prints.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from atlas.errors import UserError
from atlas.storage.stamps import digest
from edit.editors.colours import parse_colour
from edit.editors.painterly import oil
from edit.editors.protocol import Editor, FittedLayer, Keyframe, KeyframeEditor
from edit.request.options import LayerOptions

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def recolour(frame: np.ndarray, opacity: np.ndarray, *, color: str = "orange", strength: float = 1.0) -> np.ndarray:
    """Take on a colour, keeping light and shade; white, grey and black things too. color: a name or #rrggbb."""
    return _mix(frame, _tinted(frame, parse_colour(color)), strength)


def hue(frame: np.ndarray, opacity: np.ndarray, *, shift: float = 90.0) -> np.ndarray:
    """Turn all hues by `shift` degrees."""
    import torch
    from kornia.color import hsv_to_rgb, rgb_to_hsv  # a third of scikit-image's time, and the same to the sixth digit

    hsv = rgb_to_hsv(torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1))
    hsv[0] = (hsv[0] + math.radians(shift)) % (2 * math.pi)
    return hsv_to_rgb(hsv).permute(1, 2, 0).numpy()


def saturate(frame: np.ndarray, opacity: np.ndarray, *, amount: float = 2.0) -> np.ndarray:
    """Multiply how colourful it is: 0 is grey, 1 changes nothing."""
    grey_frame = (frame @ _LUMINANCE)[..., None]
    return grey_frame + (frame - grey_frame) * amount


def grey(frame: np.ndarray, opacity: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
    """Take the colour away."""
    return _mix(frame, np.repeat((frame @ _LUMINANCE)[..., None], 3, axis=2), strength)


def sepia(frame: np.ndarray, opacity: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
    """The brown of old photographs."""
    tone = np.array([1.10, 0.95, 0.75], np.float32)
    return _mix(frame, (frame @ _LUMINANCE)[..., None] * tone, strength)


def invert(frame: np.ndarray, opacity: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
    """A negative."""
    return _mix(frame, 1 - frame, strength)


def posterise(frame: np.ndarray, opacity: np.ndarray, *, levels: int = 4, smooth: float = 1.5) -> np.ndarray:
    """Few flat colours, as on a poster: `levels` per channel, after smoothing by `smooth` pixels."""
    if levels < 2:
        raise ValueError("levels must be at least 2")
    return np.round(_blurred(frame, opacity, smooth) * (levels - 1)) / (levels - 1)


def blur(frame: np.ndarray, opacity: np.ndarray, *, sigma: float = 4.0) -> np.ndarray:
    """Blur by `sigma` pixels; what is behind or before the layer does not bleed in."""
    return _blurred(frame, opacity, sigma)


def sharpen(frame: np.ndarray, opacity: np.ndarray, *, sigma: float = 2.0, amount: float = 1.5) -> np.ndarray:
    """Stress detail finer than `sigma` pixels."""
    return frame + (frame - _blurred(frame, opacity, sigma)) * amount


def sketch(
    frame: np.ndarray, opacity: np.ndarray, *, sigma: float = 4.0, dark: float = 1.5, ink: str = "black", paper: str = "white"
) -> np.ndarray:
    """A pencil drawing: lines of `ink` on `paper`, from detail finer than `sigma` pixels; `dark` presses harder."""
    light = np.clip(frame @ _LUMINANCE, 0.02, 1)[..., None]
    around = np.clip(_blurred(light, opacity, sigma), 0.02, 1)
    line = np.clip(light / around, 0, 1) ** (2 * dark)  # dodge: darker than its surroundings becomes a line
    return parse_colour(ink) + (parse_colour(paper) - parse_colour(ink)) * line


FILTERS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (recolour, hue, saturate, grey, sepia, invert, posterise, blur, sharpen, sketch, oil)
}


@dataclass(kw_only=True)
class FilterOptions(LayerOptions):
    """Options of --editor filter."""

    filter: str | None = None
    """With --editor filter: NAME[:key=value,...], such as recolour:color=orange,strength=0.8; `--filter help` lists all."""


class FilterEditor(Editor[FilterOptions], KeyframeEditor):
    """Applies one filter, given as NAME[:key=value,...], to every keyframe."""

    meaning, needs, options_type = "needs no model", "filter", FilterOptions
    explains = MappingProxyType({"filter": lambda: "\n".join(filter_help())})

    def default_name(self) -> str:
        """The filter's name."""
        return (self.options.filter or "").partition(":")[0].strip() or super().default_name()

    def check_early(self) -> None:
        """UserError where the filter or an option of it is unknown."""
        _ = self._filter

    def open(self, layer: FittedLayer) -> KeyframeEditor:
        """Nothing but keyframes is needed."""
        self.order = self.chosen_keyframes(layer)
        return self

    def fingerprint(self) -> str:
        """Digest of the filter and all of its options, given or not."""
        return digest(*self._filter)

    def edit(self, keyframe: Keyframe) -> np.ndarray:
        """The filtered frame as (H, W, 4) float32, opaque."""
        name, options = self._filter
        filtered = FILTERS[name](keyframe.frame, keyframe.opacity, **options)
        image = np.ones((*filtered.shape[:2], 4), np.float32)
        image[..., :3] = np.clip(filtered, 0, 1)
        return image

    @cached_property
    def _filter(self) -> tuple[str, dict[str, Any]]:
        return parse_filter(self.options.filter or "")


def parse_filter(text: str) -> tuple[str, dict[str, Any]]:
    """Name and complete options of NAME[:key=value,...]; UserError lists what is valid where something is not."""
    name, _, rest = text.partition(":")
    name = name.strip()
    if name == "help":
        raise UserError(f"--filter takes NAME[:key=value,...]; the filters are {'; '.join(filter_help())}")
    if name not in FILTERS:
        raise UserError(f"there is no filter {name!r}: choose one of {', '.join(FILTERS)} (--filter help describes them)")
    defaults = _defaults(name)
    options = dict(defaults)
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in defaults or not equals:
            raise UserError(f"filter {name} has no option {part!r}: write key=value with {_option_list(defaults)}")
        try:
            options[key] = type(defaults[key])(value)
            _refuse_odd(options[key])
        except ValueError:
            kind = {int: "whole number", float: "number"}.get(type(defaults[key]), "value")
            raise UserError(f"filter {name}: {key}={value} is no {kind}: the options are {_option_list(defaults)}") from None
    _try_out(name, options)
    return name, options


def filter_help() -> list[str]:
    """One line per filter: name, options with their defaults, what it does."""
    lines = []
    for name, function in FILTERS.items():
        options = _option_list(_defaults(name), ",")
        summary = (inspect.getdoc(function) or "").splitlines()[0].rstrip(".")
        lines.append(f"{name}:{options} - {summary}")
    return lines


def _try_out(name: str, options: dict[str, Any]) -> None:
    """Options of the right type may still be wrong (a colour that is none): found out before anything is written."""
    try:
        FILTERS[name](np.full((16, 16, 3), 0.5, np.float32), np.ones((16, 16), np.float32), **options)
    except ValueError as problem:
        raise UserError(f"filter {name}: {problem}; the options are {_option_list(_defaults(name))}") from None


def _refuse_odd(value: Any) -> None:
    if isinstance(value, float) and not np.isfinite(value):
        raise ValueError
    if isinstance(value, (int, float)) and abs(value) > 1000:
        raise ValueError


def _defaults(name: str) -> dict[str, Any]:
    parameters = inspect.signature(FILTERS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _option_list(defaults: dict[str, Any], separator: str = ", ") -> str:
    return separator.join(f"{key}={value}" for key, value in defaults.items())


def _mix(frame: np.ndarray, edited: np.ndarray, strength: float) -> np.ndarray:
    return frame + (edited - frame) * strength


def _tinted(frame: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Every tone on a line of constant hue through `colour`: black becomes its dark shade, white its light one.

    A fixed map of each pixel's lightness, so that all keyframes are treated alike. In CIELAB; 60 % of the
    contrast stays for most colours.
    """
    from skimage import color

    target = color.rgb2lab(colour[None, None])[0, 0]
    darkest, lightest = 0.3 * target[0], target[0] + 0.25 * (100 - target[0])
    lightness = color.rgb2lab(frame)[..., :1] / 100
    lightness = darkest + (lightest - darkest) * lightness
    # Chroma falls towards black and white, where there is less room for it.
    below = np.minimum(lightness / max(target[0], 1.0), 1)
    above = 1 - 0.5 * np.maximum(lightness - target[0], 0) / max(100 - target[0], 1.0)
    lab = np.concatenate([lightness, target[1:] * below * above], -1)
    return np.clip(color.lab2rgb(lab), 0, 1).astype(np.float32)


def _blurred(frame: np.ndarray, opacity: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of the layer's own pixels: weighted by opacity, so that no other layer bleeds in."""
    if sigma <= 0:
        return frame
    weight = opacity[..., None].astype(np.float32) + 1e-4
    total = cv2.GaussianBlur(frame * weight, (0, 0), sigma).reshape(frame.shape)
    return total / cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
