"""Sequential: image to image from the keyframe that was edited before, as it is, without following the layer's motion."""

from __future__ import annotations

from edit.diffusion.denoise import Start, draw
from edit.strategies.protocol import Strategy, View


class Sequential(Strategy):
    """Starts from the keyframe before."""

    depends_on = "last"

    def start(self, view: View) -> Start:
        """The previous edited crop, noised; the first keyframe from noise alone."""
        generator = view.generator()
        if view.is_first or view.strength >= 1:
            return Start(draw(view.shape, generator), generator)
        known = view.encode(view.previous(), generator)
        return Start(draw(view.shape, generator), generator, known, strength=view.strength)
