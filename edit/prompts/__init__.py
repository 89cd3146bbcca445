"""What people type as a prompt, and what the text encoders make of it: weights, parts, texts of any length.

Nothing here loads diffusers or transformers: it is handed the pipeline that has been loaded.
"""
