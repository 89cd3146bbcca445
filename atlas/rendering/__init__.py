"""The render stage and export: from an edited atlas to every frame."""
