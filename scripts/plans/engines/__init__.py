"""Engines: where the tasks of a plan run. `local`: processes of this machine; `ray`: the nodes of a cluster; `slurm`: its jobs;
`simulated`: nowhere, by a clock of its own.

To add one: a file here with a class that follows `scripts.plans.engines.protocol.Engine`, and its name in `opened.py`.
`remote.py` and `guard.py` are what runs on another machine, whichever engine sent it there.
"""
