"""Cast shadows in masks of what moves: how they are told from the object (`removal`), and the cut that takes them off."""
