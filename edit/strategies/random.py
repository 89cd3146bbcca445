"""Random: each keyframe from noise of its own. What the others are measured against."""

from __future__ import annotations

from edit.diffusion.denoise import Start, draw
from edit.strategies.protocol import Strategy, View


class Random(Strategy):
    """Starts from fresh noise."""

    depends_on = "none"

    def start(self, view: View) -> Start:
        """Fresh noise."""
        generator = view.generator()
        return Start(draw(view.shape, generator), generator)
