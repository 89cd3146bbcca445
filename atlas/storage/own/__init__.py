"""Own files: what somebody put into the folders that stages fill, or changed there, and how it is kept.

What tells a user's files from a stage's comes in here.
"""
