"""Change and sharpness of an edit, inside the layers that it edits: doing nothing and blurring have the best warp errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from atlas.errors import UserError
from atlas.metrics import definitions as metrics
from atlas.rendering.frames import Rendering
from atlas.system.progress import Progress


@dataclass(frozen=True)
class Changed:
    """Change of one frame, and the energies of the Laplacian of `edit` and `source`."""

    changed: float
    energies: dict[str, float]


class ChangeSeries:
    """Change and energies of the Laplacian, frame by frame; `values` are their means."""

    def __init__(self, rendering: Rendering) -> None:
        self._inside = where_edited(rendering)
        self._changed: list[float] = []
        self._energies: dict[str, list[float]] = {"edit": [], "source": []}

    def of(self, index: int, source: np.ndarray, result: np.ndarray) -> Changed:
        """Measure frame `index`, (H, W, 3), before and after the edit."""
        inside = self._inside(index)
        energies = {side: metrics.laplacian_energy(image, inside) for side, image in (("edit", result), ("source", source))}
        return Changed(metrics.changed(result, source, inside), energies)

    def append(self, one: Changed) -> None:
        """Append what was measured of the next frame."""
        self._changed.append(one.changed)
        for side, energy in one.energies.items():
            self._energies[side].append(energy)

    def values(self) -> dict[str, Any]:
        """Average: changed; sharpness as the energies of edit and source, and their ratio."""
        energies = {side: metrics.average(values) for side, values in self._energies.items()}
        sharpness = energies | {"ratio": metrics.ratio(energies["edit"], energies["source"])}
        return {"changed": metrics.average(self._changed), "sharpness": sharpness}


def edited_layers(rendering: Rendering) -> list[str]:
    """List the layers that are rendered by an edited atlas, then those whose edited frames are laid over."""
    return [*rendering.layers, *(rendering.laid.layers if rendering.laid else ())]


def where_edited(rendering: Rendering) -> Callable[[int], np.ndarray | None]:
    """Find where an edit's layers show in a frame, together above one half: (H, W) bool; None for all of it."""
    maps, layers = rendering.maps, edited_layers(rendering)
    if maps is None:
        return lambda index: None
    return lambda index: np.sum([maps.opacity(layer, index) for layer in layers], 0) > 0.5


def kept_from(rendering: Rendering, energy: float, *, quiet: bool = True) -> tuple[dict[str, Any], dict[str, str]]:
    """Measure the sharpness of deflickered frames over that of the edit that they were: what deflickering kept of it.

    energy: of the deflickered frames. Returns sharpness_kept with the edit's name and the ratio, {} where nothing was
    deflickered; and the reason where the other edit cannot be rendered.
    """
    edit = rendering.edit
    names = {name for layer in edit.layers if (name := edit.request(layer).deflickered)}
    if len(names) != 1:
        return {}, {}
    name = names.pop()
    try:
        before = Rendering.open(rendering.clip.folder, name, replace(rendering.settings, mode="auto"))
    except UserError as problem:
        return {}, {"sharpness_kept": f"the edit {name!r} that it was deflickered from cannot be rendered: {problem}"}
    inside = where_edited(rendering)
    frames = Progress(before.frames(), total=before.clip.frames, desc="before", unit="frame", quiet=quiet)
    energies = [metrics.laplacian_energy(result, inside(index)) for index, (_, result) in enumerate(frames)]
    return {"sharpness_kept": {"from": name, "ratio": metrics.ratio(energy, metrics.average(energies))}}, {}
