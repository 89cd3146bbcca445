"""Architectures of the mapping and kinds of atlas, compared on one clip: what the presets' defaults rest on.

Another architecture to compare is a line in `mappings`, another kind of atlas a class in `textures`.
"""
