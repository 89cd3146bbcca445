"""Votes of frames on what a layer's atlas shows: the sheet they are cast on, and their sums and means.

What `atlas.maps.consensus` is made of; nothing of what is done with the means comes in here.
"""
