"""The fit stage: track, register, solve, refine; from a clip to maps and atlases."""
