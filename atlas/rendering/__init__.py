"""The render stage and export: from an edited atlas to every frame.

What turns an edit into pixels, and where these are written, comes in here; no network is evaluated but for another size.
"""
