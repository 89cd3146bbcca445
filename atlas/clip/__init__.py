"""Clip: the clip's folder, its optical flow, its edits and keep-masks.

What every stage asks of a clip comes in here; what one stage alone does with it stands in that stage.
"""
