"""Worker: a process that runs tasks of a plan one after the other, so that what they import and load is loaded once.

`serve.py` is what it runs, `traces.py` sees to it that nothing of a task is left for the next one, `process.py` starts it,
hands it tasks and sees it die.
"""
