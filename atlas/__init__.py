"""From frames to layers and back: clips, flow, masks, fields, fitting, maps, warping, rendering."""
