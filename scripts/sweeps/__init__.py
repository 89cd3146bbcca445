"""Sweeps: ablations over any options of any stages, as one plan in which shared stages run once, with tables and a picture.

How its tasks are run stands in `scripts.plans`; what is measured, in `atlas.evaluation`.
"""
