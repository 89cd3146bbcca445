"""Plans: graphs of the stages' own commands, run by an engine, here or on other machines.

What a plan is, what became of it and in which order it is run lives here; what goes into one is the business of
`scripts.batches` and `scripts.sweeps`.
"""
