"""Random: each keyframe from noise of its own. What the others are measured against."""

from __future__ import annotations

from edit.strategies.protocol import Start, View, draw


class Random:
    """Follows `Strategy`."""

    def start(self, view: View) -> Start:
        """Fresh noise."""
        generator = view.generator()
        return Start(draw(view.shape, generator), generator)
