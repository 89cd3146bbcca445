"""The pipeline: all stages in order, for `scripts/run.py` and whatever else runs them."""
