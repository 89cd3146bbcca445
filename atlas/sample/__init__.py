"""The sample clip: built from photographs, with its true layers."""
