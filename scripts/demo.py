"""The main job on the sample clip, in a virtual environment that is made where none is active.

Builds data/sample, then takes it apart, edits it and renders it in data/demo.
"""

from __future__ import annotations

import sys
import time

import environment

SAMPLE = environment.ROOT / "data" / "sample"
CLIP = environment.ROOT / "data" / "demo"
EDIT = "gold"


def demo() -> int:
    """Build the sample, run all stages on it, print where to look; returns the exit status of the first that failed."""
    scripts = environment.ROOT / "scripts"
    start = time.monotonic()
    request = ["--name", EDIT, "--layer", "foreground", "--editor", "filter", "--filter", "recolour:color=gold"]
    steps = [
        [str(scripts / "sample.py"), str(SAMPLE)],
        [
            str(scripts / "run.py"),
            str(SAMPLE / "frames"),
            str(CLIP),
            "--masks",
            str(SAMPLE / "masks"),
            "--preset",
            "preview",
            *request,
        ],
    ]
    for step in steps:
        status = environment.call([sys.executable, *step], environment.ROOT)
        if status != 0:
            return status
    print(f"\nDone in {time.monotonic() - start:.0f} s. Where to look:")
    places = {
        CLIP / "edits" / EDIT / "video.mp4": "the edited video",
        CLIP / "edits" / EDIT / "sheet.png": "the source above, the edit below",
        CLIP
        / "fits"
        / "default"
        / "layers"
        / "foreground"
        / "atlas.png": "the layer as one image: paint on it and render again",
        CLIP / "fits" / "default" / "preview.mp4": "source, reconstruction and opacity side by side",
    }
    for path, meaning in places.items():
        print(f"  {path}  {meaning}")
    return 0


if __name__ == "__main__":
    environment.explain(__doc__, takes_arguments=False)
    environment.enter()
    sys.exit(demo())
