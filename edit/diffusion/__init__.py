"""Stable Diffusion under ControlNet: loading, one guided step, the denoising loop. Needs the extra `diffusion`.

Nothing here loads diffusers or transformers until weights are loaded.
"""
