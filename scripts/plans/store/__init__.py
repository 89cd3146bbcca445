"""Store: clips of a plan for machines without a shared disk, kept in any file system that fsspec speaks.

Around each stage the clip's folder is brought and taken back (`stage.py`); the machine that runs the plan hands in what it has,
and sees what was made (`driver.py`), around the engine that runs tasks (`engine.py`).
"""
