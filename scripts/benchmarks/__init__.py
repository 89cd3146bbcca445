"""Benchmarks: measured fits and edits against what is aimed at. Nothing of the product imports them."""
