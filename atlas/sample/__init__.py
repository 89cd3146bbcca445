"""The sample clip: built from photographs, with its true layers.

What tests and benches know the right answer of comes in here.
"""
