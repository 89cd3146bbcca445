"""The ground behind what moves: plates of it from other frames, with their exposure made equal."""
