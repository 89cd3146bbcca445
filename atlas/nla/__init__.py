"""The published Layered Neural Atlases: training them as a baseline, and importing trained ones."""
