"""What moves: comparisons of frames, evidence gathered along the flow, and the cut that makes masks of it.

Everything here goes through a clip frame by frame, with what it needs of other frames on the disk: memory does not grow with
the clip. `atlas.masks.motion` and `atlas.masks.box` are the sources that are made of it.
"""
