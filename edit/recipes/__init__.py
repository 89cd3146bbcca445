"""Recipes: how all frames are edited by a prompt, as stages of orthogonal choices; each published method is a preset of them.

A new method is a line in `edit.recipes.presets.PRESETS`. Nothing here loads torch.
"""
