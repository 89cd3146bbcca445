"""From edited keyframes to one edited atlas: merging their partial atlases, the aggregation network."""

import atlas  # noqa: F401  (sets how torch's threads wait, before torch is loaded)
