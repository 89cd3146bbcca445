"""Video: films and folders of frames, read and written through ffmpeg, and contact sheets of them.

What knows frames in time but no clip folder comes in here.
"""
