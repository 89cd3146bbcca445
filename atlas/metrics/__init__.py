"""Metrics: definitions of all measures, as functions of arrays.

A new metric comes in here; where it is reported stands in `atlas.evaluation`.
"""
