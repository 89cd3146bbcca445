"""Ray: tasks run on the nodes of a cluster.

`cluster.py` connects to one and asks what its nodes have, `placing.py` chooses among them, `engine.py` is what a plan's run
sees; `carried.py` is what workers are sent.
"""
