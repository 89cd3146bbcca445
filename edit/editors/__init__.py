"""Editors: each turns a frame into an edited keyframe, or takes a painted atlas.

To add one: a file here with a class that follows `KeyframeEditor`, and a line in `edit.edit.make_editor`.
"""
