"""Model: the networks and grids of a fit, their losses and their checkpoints.

A new field, encoding or loss comes in here.
"""
