"""Optical flow from outside: its files (`files`), and which of them leads from which frame to which (`steps`).

What a clip's own flow is made of, and its validity, stays in `atlas.clip.flow`.
"""
