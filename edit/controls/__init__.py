"""Control images that do not tick: poses from key points, soft edges, and any control steadied through the atlas.

What draws or smooths control images comes in here; canny and depth of one picture stand in `edit.diffusion.conditions`.
"""
