"""Layered video editing: from frames to layers and back.

    import atlas
    clip = atlas.prepare("car.mp4", "clips/car")
    fit = atlas.fit(clip, preset="preview")
    fit.atlas("foreground"), fit.uv("foreground", 12), fit.opacity("foreground", 12)

`edit.edit` and `aggregate.aggregate` make an edit of it, `atlas.render` a film of that. See docs/python.md.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.api.stages import evaluate, fit, prepare, render
    from atlas.api.things import Edit, Fit
    from atlas.clip.clip import Clip
    from atlas.errors import BusyError, UserError

__all__ = ["BusyError", "Clip", "Edit", "Fit", "UserError", "evaluate", "fit", "prepare", "render"]
_PLACES = {
    "prepare": "atlas.api.stages",
    "fit": "atlas.api.stages",
    "render": "atlas.api.stages",
    "evaluate": "atlas.api.stages",
    "Fit": "atlas.api.things",
    "Edit": "atlas.api.things",
    "Clip": "atlas.clip.clip",
    "UserError": "atlas.errors",
    "BusyError": "atlas.errors",
}

# Read by OpenMP when torch is loaded, so it has to stand here. Threads that spin for long while they wait make the many
# small steps of a fit several times slower as soon as anything else runs on the machine; threads that sleep at once are
# woken for each of them, which takes a fifth of a fit's time. So they spin for some microseconds, then sleep.
if os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE").upper() == "PASSIVE":
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def __getattr__(name: str) -> Any:
    """Load what the interface names when it is asked for: every command imports this package, and must start at once."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
