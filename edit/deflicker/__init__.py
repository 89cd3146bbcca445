"""Deflickering: frames that were edited one by one made to agree, by the atlas, patches, a deep video prior or flow.

One way in one file, a line for each in `edit.deflicker.registry`. Inside sampling the same ways are fed estimates of the
clean frames. Nothing of diffusion comes in here.
"""
