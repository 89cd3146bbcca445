"""Options of the deflicker command, and the way of deflickering that they ask for: torch is loaded when that is made."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from atlas.clip.clip import checked_name
from atlas.errors import UserError
from atlas.system.command import StageOptions
from atlas.system.device import Device
from edit.deflicker.registry import WAYS, registered

if TYPE_CHECKING:
    from edit.deflicker.protocol import Deflicker

_HELP = f"How frames are made to agree: {', '.join(f'`{name}` ({way.meaning})' for name, way in WAYS.items())}."
_SHARED = ("quiet", "wait", "clip", "edit", "way", "name", "fit", "device")


@dataclass(kw_only=True)
class DeflickerOptions(StageOptions):
    """Make the frames of an edit agree: a new edit, on frames. Any edit will do, also one made in another program."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    edit: str
    """Name of the edit whose frames flicker; it stays as it is."""
    way: Annotated[str, tyro.conf.arg(name="with", help=_HELP)]
    name: str | None = None
    """Name of the new edit. Default: the edit's and the way's, as EDIT-atlas."""
    fit: str | None = None
    """Fit that is looked through. Default: the edit's."""
    window: int | None = None
    """With atlas, patches or flow: how many frames before and after it a frame is made to agree with. Default: atlas all, flow 2."""  # noqa: E501
    form: Literal["delta", "replace"] | None = None
    """With atlas: `delta` adds what the mean differs by from the frame's own view of the atlas, so that grain and detail stay; `replace` shows the mean itself. Default: delta."""  # noqa: E501
    robust: bool = False
    """With atlas: of several looks of a texel the commoner one wins, instead of their blend."""
    trust: Literal["on", "off"] | None = None
    """With atlas: where averaging would change the source itself, take on no more than the change of what lies beside. Default: on."""  # noqa: E501
    gain: Literal["on", "off"] | None = None
    """With atlas: take out the flicker of each frame's exposure first, by one gain for each colour and layer. Default: on."""  # noqa: E501
    mode: Literal["balanced", "fast", "accurate"] | None = None
    """With patches: `balanced` looks up each frame of the window (2 window n searches of n frames), `fast` takes partial means (about n log window: for large windows), `accurate` is balanced with all frames of a window sought together. Default: balanced."""  # noqa: E501
    start: Literal["identity", "flow", "atlas"] | None = None
    """With patches: where the search for like patches starts: at the same place (slow, as published), along the flow, or at the same texel of the fit. Default: atlas where there is a fit, else flow."""  # noqa: E501
    epochs: int | None = None
    """With prior: how often all frames are shown to the network at most."""
    detail: Literal["keep", "prior"] | None = None
    """With prior: `keep` takes low frequencies from the network and detail from the edit; `prior` shows the network's own output. Default: keep."""  # noqa: E501
    irt: bool = False
    """With prior: two outputs, the commoner look and the rest (iteratively reweighted training): for edits with two looks."""
    seed: int | None = None
    """With patches or prior: seed of their random numbers. Default: 0."""
    device: Device = "auto"
    """Where to compute."""

    def check(self) -> None:
        """UserError for what is wrong whatever the clip: no such way, an option of another one, a number out of range."""
        own = registered(self.way).options
        for field in fields(self):
            if field.name in (*_SHARED, *own) or getattr(self, field.name) == field.default:
                continue
            owners = " or ".join(name for name, way in WAYS.items() if field.name in way.options)
            raise UserError(f"--{field.name} is for --with {owners}, not --with {self.way}: leave one of them out")
        for name, least, most in (("window", 1, 10**6), ("epochs", 1, 10**6), ("seed", 0, 2**63 - 1)):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UserError(f"--{name} {value} is out of range: choose a whole number from {least} to {most}")
        if self.fit is not None:
            checked_name(self.fit, "fit")

    def chosen(self) -> Deflicker:
        """The way that is asked for, made from these options; UserError as `check` raises it."""
        self.check()
        return registered(self.way).load().of(self)

    @property
    def new_name(self) -> str:
        """Name of the new edit."""
        return f"{self.edit}-{self.way}" if self.name is None else self.name
