"""Editors: each turns a frame into an edited keyframe, or takes a painted atlas.

To add one: a file here with a class that follows `KeyframeEditor`, a line in `edit.edit.EDITORS` and
one in `edit.edit._editor_and_keyframes`.
"""
