"""What the object looks like: a small network that tells its pixels from those of the ground by their surroundings."""
