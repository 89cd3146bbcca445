"""The evaluate stage: a fit and its edits measured, in a table, as JSON and as a report."""
