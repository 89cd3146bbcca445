"""The fit stage: track, register, solve, refine; from a clip to maps and atlases.

What makes a fit better or faster comes in here; what edits and rendering read of it belongs to `atlas.maps` or `atlas.model`.
"""
