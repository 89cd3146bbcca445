"""The published Layered Neural Atlases: training them as a baseline, and importing trained ones.

What only their architecture needs comes in here; their networks stand in `atlas.model`, where every checkpoint is opened.
"""
