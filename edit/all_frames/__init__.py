"""Editing all frames by a prompt: recipes of sampling, tuning and finishing, each published method a preset of them.

The loop over all frames, and what may change a prediction in it: noise, attention, windows, agreement.
"""
