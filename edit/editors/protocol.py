"""What every editor offers: its options, its checks, and then one layer's keyframes, or its atlas, edited."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from atlas.clip.clip import WHOLE_FRAME, Clip
from edit.request.keyframes import chosen, named
from edit.request.options import LayerOptions, Target

if TYPE_CHECKING:
    from atlas.maps.coverage import Visibility
    from atlas.maps.maps import Maps

Options = TypeVar("Options", bound=LayerOptions)


@dataclass
class Keyframe:
    """A frame to edit, and where the layer is seen in it."""

    index: int
    frame: np.ndarray
    """(H, W, 3) float32 RGB in [0, 1]."""
    opacity: np.ndarray
    """(H, W) float32 visible opacity of the layer; exactly 0 where it is not seen."""


@dataclass(frozen=True)
class FittedLayer:
    """The layer that is edited: of which clip, in the maps of which fit. The whole frame, `all`, is one that needs no fit."""

    clip: Clip
    fit: Maps | None
    """None where no fit is needed, and none was opened."""
    name: str
    cache: Path
    """Folder for what a model makes of it."""

    @property
    def is_whole(self) -> bool:
        """Whether whole frames are edited: there is no uv, no atlas and no light of `all`."""
        return self.name == WHOLE_FRAME

    @property
    def maps(self) -> Maps:
        """The maps of the fit; TypeError where none was opened."""
        if self.fit is None:
            raise TypeError(f"{self.name} is edited without a fit")
        return self.fit

    def opacity(self, frame: int) -> np.ndarray:
        """Visible opacity in a frame, (H, W) float32 in [0, 1]; 1 everywhere of whole frames."""
        if self.is_whole:
            return np.ones((self.clip.height, self.clip.width), np.float32)
        return self.maps.opacity(self.name, frame)

    def identity(self) -> str:
        """Digest what an edit of it depends on: the fit and the clip below it, or for whole frames the clip alone."""
        from atlas.maps.maps import fit_identity

        return self.clip.identity() if self.is_whole else fit_identity(self.clip, self.maps, self.name)

    @cached_property
    def seen(self) -> Visibility:
        """What each frame sees of it; UserError where none sees anything."""
        from atlas.maps.coverage import visibility  # torch is loaded with it, and an editor's options need none

        return visibility(self.maps, self.name)


class LayerEditor(ABC):
    """An editor at work on one layer: what editing keyframes and editing an atlas have in common."""

    holds_fit: ClassVar[bool] = False
    """Whether `fingerprint` holds the fit already; it is added to that otherwise."""
    notes: Sequence[str] = ()
    """Lines for the user about what was made."""

    @abstractmethod
    def fingerprint(self) -> str | Path:
        """Digest of what decides the result beside request, keyframes and fit (bytes of files, version of a model), or the
        one file that does."""

    def check(self) -> None:  # noqa: B027  (most need nothing more)
        """UserError where what the work takes cannot be used. Called only if something is to be made, before it is."""


class KeyframeEditor(LayerEditor):
    """Edits keyframes one after the other; it may remember the earlier ones."""

    order: list[int]
    """The keyframes in the order in which they are edited."""
    deep: bool = False
    """Whether what it edits has 16 bits for each channel, which are kept."""
    is_slow: ClassVar[bool] = False
    """Whether a keyframe takes long: where none is replaced each is then written to its place as soon as it is made, so that
    a killed run leaves it."""

    @property
    def keyframes(self) -> list[int]:
        """The frames to edit, ascending."""
        return sorted(self.order)

    @abstractmethod
    def edit(self, keyframe: Keyframe) -> np.ndarray:
        """The edited keyframe: (H, W, 4) float32 RGBA in [0, 1], alpha = where the edit applies (not the layer's shape)."""


class AtlasEditor(LayerEditor):
    """Edits the layer's atlas itself: there are no keyframes then."""

    @abstractmethod
    def edit(self) -> tuple[np.ndarray, np.ndarray]:  # (N, N, 4) uint16 both
        """The edited atlas, and the fit's own that it is compared with; equal, bit for bit, where nothing was edited."""


class Editor(ABC, Generic[Options]):
    """A way of editing: one class in one file, and a line in `edit.editors.EDITORS`.

    It is made from the command's options, checked, and then opened on a layer, where it may itself be the `KeyframeEditor`
    or `AtlasEditor`. The order of the checks: `check_early` without a clip, `find` what is needed from outside, `check_for` a
    clip, `open` on a layer of its fit. Each is there for whoever has long work to do before the next.
    """

    meaning: ClassVar[str]
    """In two or three words, as it stands beside its name in the command's help."""
    needs: ClassVar[str]
    """Name of the option that it cannot do without."""
    options_type: ClassVar[type[LayerOptions]]
    """Dataclass of its options; those that it has beyond `LayerOptions` are refused with other editors."""
    explains: ClassVar[Mapping[str, Callable[[], str]]] = MappingProxyType({})
    """Options after which `help` is a question, and what answers it: what may be written there."""
    targets: ClassVar[tuple[Target, ...]] = ("keyframes", "frames")
    """What of a layer it can edit (--on); first what it does where the user says nothing."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @classmethod
    def own_options(cls) -> dict[str, Any]:
        """Options that belong to this editor, with their defaults."""
        shared = {field.name for field in fields(LayerOptions)}
        return {field.name: field.default for field in fields(cls.options_type) if field.name not in shared}

    def default_name(self) -> str:
        """Name for an edit that the user gave none."""
        return self.options.editor

    def target(self, layer: str) -> Target:
        """What of a layer is edited."""
        return self.options.on or self.targets[0]

    def needs_fit(self, layer: str) -> bool:
        """Whether a fit must be there: whole frames are edited without one, where the editor does not look through it."""
        return layer != WHOLE_FRAME

    def check_early(self) -> None:
        """UserError for what is wrong whatever the clip. Nothing is loaded for it, and nothing fetched."""

    def find(self, *, try_out: bool) -> None:
        """Find what is needed from outside, and fetch it; UserError where it is missing.

        try_out: long work lies ahead; what could fail after it is tried now, and let go again.
        """

    def check_for(self, clip: Clip, layer: str) -> None:
        """UserError for what is wrong for this clip, whatever its fit."""
        self.named_keyframes(clip)

    @abstractmethod
    def open(self, layer: FittedLayer) -> KeyframeEditor | AtlasEditor:
        """Begin with a layer; UserError, before anything is written, where something is missing or does not fit."""

    def asked_for(self, layer: str) -> dict[str, Any]:
        """What edit.json keeps of its own options for a layer, JSON-ready: those that were given."""
        values = {name: getattr(self.options, name) for name in self.own_options()}
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
        return {name: value for name, value in plain.items() if values[name] != self.own_options()[name]}

    def named_keyframes(self, clip: Clip) -> list[int] | None:
        """The keyframes that the user named, or all frames with --on frames; None where coverage is to choose them."""
        if self.options.on == "frames":
            return list(range(clip.frames))
        return named(self.options.keyframes, clip.frames)

    def chosen_keyframes(self, layer: FittedLayer) -> list[int]:
        """The keyframes: those that the user named, all frames, or those that cover most of the layer."""
        numbers = self.named_keyframes(layer.clip)
        return chosen(self.options.keyframes, layer.seen) if numbers is None else numbers


def cut_out(
    keyframe: Keyframe,
    edited: np.ndarray,  # (H, W, 4)
) -> np.ndarray:  # (H, W, 4)
    """The keyframe as it is saved: alpha = the layer's opacity times where the edit applies, colours not premultiplied.

    Where alpha is 0 the frame's own colours stand, so that a painter who removes the transparency sees the frame.
    """
    alpha = keyframe.opacity * edited[..., 3]
    colour = np.where(alpha[..., None] > 0, edited[..., :3], keyframe.frame)
    return np.concatenate([colour, alpha[..., None]], -1)
