"""Edit clips in a browser: scripts/app.py [ROOT] [--host 127.0.0.1] [--port 7860]"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.webapp.serve import AppOptions, serve

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stopped, it takes its scratch folder with it
    run_command(AppOptions, serve)
