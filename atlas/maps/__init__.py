"""Maps: uv, opacity and light of every frame on disk, and what is computed from them without a network.

What both fits and edits ask of maps comes in here.
"""
