"""Masks by networks that others trained: SAM 2 from points, boxes and words; a network of salient objects.

Grammar, network, following and finding each have a file of their own; `atlas.masks.learned.prompted` and
`atlas.masks.learned.salient` are the sources that are made of them. A new network comes in here.
"""
