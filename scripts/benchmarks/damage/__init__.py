"""Damage: files altered at random, and what the stages make of them. A line that says what is wrong, or a result; no third.

`mutations` alters bytes and folders, `original` makes the files, `models` the tiny models among them, `subjects` names
who reads which, `trying` runs them.
"""
