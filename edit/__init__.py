"""From a request to edited keyframes: what was asked for, which frames, and the editors."""

import atlas  # noqa: F401  (sets how torch's threads wait, before torch is loaded)
