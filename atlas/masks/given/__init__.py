"""Masks that are given: which picture belongs to which frame and object, and what its colours mean.

What a tool's files are called and how they lie comes into layout.py, what their pixels may stand for into meaning.py;
`atlas.masks.folder` and `atlas.masks.film` are the sources that are made of it.
"""
