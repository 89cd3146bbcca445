"""Editors: each turns a frame into an edited keyframe, or edits the layer's atlas itself.

To add one: a file here with a class that follows `KeyframeEditor`, a line in `edit.stage.EDITORS` and
one in `edit.stage._editor_and_keyframes`. Editing by a prompt remembers keyframes from one to the next: `edit.prompted`.
"""
