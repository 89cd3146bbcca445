"""The colour change of an edit, learned from its keyframes, and what of the rest the keyframes confirm."""
