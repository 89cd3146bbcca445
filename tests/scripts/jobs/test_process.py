"""Commands as processes: what they say and what they give is kept apart, or together."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.jobs.process import last_line, run_process


def test_what_a_process_says_is_kept_whole(tmp_path: Path) -> None:
    said, result = tmp_path / "said.txt", tmp_path / "result.txt"
    code = "import sys; print('a result', flush=True); print('error: why', file=sys.stderr); sys.exit(2)"
    assert run_process([sys.executable, "-c", code], said) == 2
    assert said.read_text() == "a result\nerror: why\n" and last_line(said) == "why"
    for _ in range(2):  # what was there before goes
        assert run_process([sys.executable, "-c", code], said, result) == 2
        assert (said.read_text(), result.read_text()) == ("error: why\n", "a result\n")
