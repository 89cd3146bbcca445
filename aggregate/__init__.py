"""From edited keyframes to one edited atlas: partial atlases, merging them, the aggregation network."""
