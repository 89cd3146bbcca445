"""From edited keyframes to one edited atlas: partial atlases, merging them, the aggregation network."""

import atlas  # noqa: F401  (sets how torch's threads wait, before torch is loaded)
