"""Options of the commands that work with torch, without it: their --help, and forms made of them, are there at once.

What a command does with them stands in its package's `stage.py`.
"""
