"""Storage: files, images, arrays, tensors and stamps on disk, written atomically and checked when read.

What knows a file format but no clip comes in here.
"""
