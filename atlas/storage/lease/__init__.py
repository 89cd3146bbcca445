"""Lease: who is at work in a folder, said by a file beside it that is made exclusively and touched as long as work goes on.

It needs no lock of the file system's, so it holds on network disks too, and on every system. Half-made files, which carry their
maker's name, belong here as well.
"""
