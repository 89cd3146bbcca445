"""What is put on top of a loaded model: LoRAs, words of textual inversion, and IP-Adapters for a picture beside the prompt.

Each adds to the networks of a pipeline, and says in one line where it was made for others.
"""
