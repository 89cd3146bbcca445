"""Batches: many clips and edits from one job file, what became of them as a table, and a page that shows them.

The job file is read here, and nothing of it is trusted; how its tasks are run stands in `scripts.plans`.
"""
