"""Digests of files, remembered by this process while a file is unchanged: stages hash the same files again and again."""
