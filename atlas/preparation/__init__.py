"""The prepare stage: from a source to the folder of a clip.

What is done once before any fit comes in here; where masks come from stands in `atlas.masks`, how clips are written in
`atlas.clip`.
"""
