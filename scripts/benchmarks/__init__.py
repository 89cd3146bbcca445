"""Benchmarks: fits and edits measured, each in a process of its own, against what is aimed at.

`bench` drives; what it measures of edits stands in `edits`, a comparison of its own in `architectures`. A measured part is
a file in `edits`, a thin command in scripts/ and a line in `parts`. Nothing of the product imports them.
"""
