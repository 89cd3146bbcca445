"""Masks: where the objects are, from a folder, a box or motion; gaps, outlines and signed distances of masks.

A new source of masks comes in here, a file each and a line in source.py.
"""
