"""From frames to layers and back: clips, flow, masks, fields, fitting, maps, warping, rendering."""

import os

# Read by OpenMP when torch is loaded, so it has to stand here. Threads that spin for long while they wait make the many
# small steps of a fit several times slower as soon as anything else runs on the machine; threads that sleep at once are
# woken for each of them, which takes a fifth of a fit's time. So they spin for some microseconds, then sleep.
if os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE").upper() == "PASSIVE":
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
