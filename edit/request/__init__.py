"""The request: options of the edit command, what is saved of them, and which frames are keyframes.

What is asked for comes in here; options of one editor stand with that editor. Nothing here loads torch.
"""
