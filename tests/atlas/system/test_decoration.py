"""What only decorates cannot lose the work."""

from __future__ import annotations

import pytest

from atlas.errors import BusyError
from atlas.system.decoration import decoration


def test_a_failure_is_said_in_one_line_and_the_work_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with decoration("sheet.png"):
        raise ValueError("operands could not be\nbroadcast \x1b[31m together")
    said = capsys.readouterr().err
    assert said.startswith("sheet.png could not be made, all else is there (ValueError: operands could not be broadcast \\x1b")
    assert said.count("\n") == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, BusyError])
def test_what_is_no_failure_of_drawing_passes(kind: type[BaseException]) -> None:
    with pytest.raises(kind), decoration("sheet.png"):
        raise kind("stop")
