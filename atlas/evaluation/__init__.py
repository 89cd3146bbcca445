"""The evaluate stage: a fit and its edits measured, in a table, as JSON and as a report.

What a figure is, stands in `atlas.metrics`; which figures are reported, and in what words, comes in here.
"""
