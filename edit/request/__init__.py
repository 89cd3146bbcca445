"""The request: options of the edit command, what is saved of them, and which frames are keyframes."""
