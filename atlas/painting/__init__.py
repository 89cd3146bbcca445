"""Painting by hand: a layer's atlas or a keyframe under the brush, and the frames that come of it, soon after each stroke.

What shows pages and takes strokes stands above it; what is rendered and stored is the stages' own.
"""
