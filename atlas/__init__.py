"""From frames to layers and back: clips, flow, masks, fields, fitting, maps, warping, rendering."""

import os

# Read by OpenMP when torch is loaded, so it has to stand here. Threads that spin while they wait make the many small
# steps of a fit several times slower as soon as anything else runs on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
