"""Colour changes: what an edit does to the colours of its layer, learned from keyframes and applied to every frame."""
