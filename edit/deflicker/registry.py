"""Ways of deflickering by their names. This file is their registry, and what it imports loads no torch.

To add one: a file here with a frozen dataclass, a subclass of `edit.deflicker.protocol.Deflicker` whose fields are its settings
and whose classmethod `of` makes it from the command's options; and a line in `WAYS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from atlas.errors import UserError

if TYPE_CHECKING:
    from edit.deflicker.protocol import Deflicker


@dataclass(frozen=True)
class Registered:
    """A way of deflickering by what it does, and its class, which is imported when it is asked for: it takes torch along."""

    meaning: str
    """As it stands in the command's help."""
    where: str | type[Deflicker]
    """MODULE:CLASS, or the class itself."""
    options: tuple[str, ...]
    """Fields of `DeflickerOptions` that it takes; others than the shared ones are refused."""

    def load(self) -> type[Deflicker]:
        """The class; TypeError where it is no way of deflickering."""
        from edit.deflicker.protocol import Deflicker

        way = resolve_name(self.where) if isinstance(self.where, str) else self.where
        if not issubclass(way, Deflicker):
            raise TypeError(f"{way.__name__} in WAYS is no subclass of edit.deflicker.protocol.Deflicker")
        return way


WAYS: dict[str, Registered] = {
    "atlas": Registered(
        "what all frames show of a texel of the fit's atlases, averaged there",
        "edit.deflicker.atlas:AtlasDeflicker",
        ("window", "form", "robust", "trust", "gain"),
    ),
    "patches": Registered(
        "patches of the other frames that look alike in the source, averaged; no fit needed",
        "edit.deflicker.patches:PatchDeflicker",
        ("window", "mode", "start", "seed"),
    ),
    "prior": Registered(
        "a small network trained to make the edit out of the source, which learns flicker last; no fit needed",
        "edit.deflicker.prior:PriorDeflicker",
        ("epochs", "detail", "irt", "seed"),
    ),
    "flow": Registered(
        "the neighbouring frames warped along the source's optical flow, averaged: a baseline",
        "edit.deflicker.flow:FlowDeflicker",
        ("window",),
    ),
}


def registered(name: str) -> Registered:
    """The entry of a name; UserError lists the names where there is none."""
    if name not in WAYS:
        raise UserError(f"there is no way {name!r} of deflickering: --with is one of {', '.join(WAYS)}")
    return WAYS[name]
