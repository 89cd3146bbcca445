"""Editing all frames of a clip by a recipe: the scene, its control images, agreement, tuning, stage after stage.

What a single prediction or step is made of stands in `edit.sampling`.
"""
