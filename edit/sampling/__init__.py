"""Sampling all frames at once: the denoising loop over them, and what makes frames alike in a prediction.

Noise, attention, windows, grids, fusion, and the state from which a killed run goes on. What a recipe makes of these stands in
`edit.all_frames`.
"""
