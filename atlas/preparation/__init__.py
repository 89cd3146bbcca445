"""The prepare stage: from a source to the folder of a clip."""
