"""What is measured of edits: splatting, merging, rendering, shimmer, and edits whose right answer is known.

Each file is the code of one command, which prints its figures as lines or JSON; `scripts.benchmarks.parts` runs them.
"""
