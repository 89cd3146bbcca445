"""Fine-tuning a diffusion model on one clip: pairs, losses, training, and the files that it leaves.

What changes weights comes in here; what changes predictions stands in `edit.all_frames`.
"""
