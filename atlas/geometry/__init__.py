"""Geometry: warping, homographies, filling, rasterising, textures. Arrays in, arrays out.

What knows no file and no clip comes in here.
"""
