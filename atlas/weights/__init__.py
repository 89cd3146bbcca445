"""Weights of others: where models are found, and what is checked of a folder before a library opens it.

What concerns weights that were trained elsewhere comes in here.
"""
