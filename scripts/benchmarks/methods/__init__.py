"""Measured parts of a bench about edits of all frames: flicker that is known, on edits that are known.

A part is a file here, a thin command in scripts/ and a line in `scripts.benchmarks.parts`.
"""
