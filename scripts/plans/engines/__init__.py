"""Engines: where the tasks of a plan run. `local`: processes of this machine; `simulated`: nowhere, by a clock of its own.

To add one: a file here with a class that follows `scripts.plans.engines.protocol.Engine`.
"""
