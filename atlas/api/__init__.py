"""The Python interface: stages as functions with keywords, and what they make as objects that give arrays.

`import atlas` shows all of it (`atlas.fit`, `atlas.Clip`). Only what wraps a stage or a saved thing comes in here: no logic.
"""
