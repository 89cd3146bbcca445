"""The frames that a film shows: when each is shown, and whether it is interlaced, from decoding them all.

What is stored is something else: an edit list hides stored frames of a film that was trimmed without encoding it again, a frame
may come in two packets, one for each field, and some packets hold no frame at all.
"""

from __future__ import annotations

import re
import subprocess
import threading
from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

import numpy as np

from atlas.errors import UserError
from atlas.storage.bounds import MOST_VIDEO_FRAMES
from atlas.video.ffmpeg import MOST_MESSAGES, NO_TEXTS, input_arguments, start_ffmpeg

_LONGEST_LOOK = 120.0
"""Seconds within which the first frame must be there."""
NUMBER = r"\d{1,18}(?:\.\d{1,18})?"
"""A number as ffmpeg prints them, in a regular expression."""
ON_ONE_CLOCK = ["-map", "0:V:0", "-map", "0:a?", "-c:a", "copy"]
"""Arguments of ffmpeg for an output of the picture and, as it is, all sound: of transport streams, ffmpeg begins to count time
where the first of the streams begins that are asked for."""
_LONGEST_LINE = 1 << 16
_ROUNDED = 0.01
"""Seconds by which the printed length of a file may be rounded down."""
_MOST_TICKS = 10**15
_LEVEL = re.compile(r"(?:\[\S+ @ \w+\] )?\[(\w+)\] ")
_FRAME = re.compile(r"\[Parsed_showinfo\S* @ \w+\] \[info\] n: *(\d+) pts: *(-?\d+|NOPTS) (?:.*?duration: *(-?\d+))?.*? i:(\w)")
_CLOCK = re.compile(r"\[Parsed_showinfo\S* @ \w+\] \[info\] config in time_base: (\d{1,9})/(\d{1,9}),")


@dataclass
class ShownFrames:
    """What ffmpeg says of a film while it decodes it."""

    header: str = ""
    """What it says of the file: containers, streams, texts that stand in the file."""
    first: str = ""
    """What it says of the first frame."""
    errors: str = ""
    """Its errors, without its warnings."""
    failed: bool = False
    """Whether ffmpeg says so."""
    whole: bool = True
    """Whether these are all frames; of a part, the errors are not all, or those of what comes after."""
    step: Fraction = Fraction(0)
    """Seconds of a tick."""
    ticks: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """(N + 1,) int64: when each frame is shown, from the start of the file, and the end of the last; ascending."""
    interlaced: int = 0
    """Frames of two fields."""
    kinds: int = 0
    """How often frames of another size or colour than those before begin, the first ones too."""

    @property
    def frames(self) -> int:
        """How many frames are shown."""
        return max(0, len(self.ticks) - 1)

    @property
    def announced(self) -> float | None:
        """Seconds that the file says it lasts; some count them from zero, whatever the time of the first frame."""
        length = re.search(rf"^ {{2}}Duration: (\d{{1,18}}):(\d{{1,2}}):({NUMBER})", self.header, re.MULTILINE)
        return int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else None

    @property
    def started(self) -> float:
        """Seconds on the file's own clock at which it starts: those of `ticks` are counted from there."""
        start = re.search(rf"^ {{2}}Duration: .*?start: (-?{NUMBER})", self.header, re.MULTILINE)
        return float(start[1]) if start else 0.0


def shown_frames(path: Path, most: int | None = None, decoder: str = "") -> ShownFrames:
    """Decode a film's frames, or the first `most` of them, and list when they are shown. The file may be damaged.

    decoder: another than ffmpeg's own. Raises UserError where there are more frames than any film of use has.
    """
    output = [*ON_ONE_CLOCK, "-fps_mode", "passthrough", "-vf", "showinfo=checksum=0", *NO_TEXTS, "-f", "null", "-"]
    chosen = ["-c:v", decoder] if decoder else []
    command = ["-v", "level+info", "-nostats", *chosen, *input_arguments(path), *output]
    listing = _Listing()
    with start_ffmpeg(command, stdout=subprocess.DEVNULL) as process:
        assert isinstance(process.stderr, BufferedReader)
        late = threading.Timer(_LONGEST_LOOK, process.kill)
        late.start()
        try:
            while line := process.stderr.readline(_LONGEST_LINE):
                listing.add(line.decode("utf-8", "replace"))
                if listing.times:
                    late.cancel()
                if most is not None and len(listing.times) > most:
                    return listing.result(most=most)
                if len(listing.times) > MOST_VIDEO_FRAMES:
                    raise UserError(f"{path} holds more than {MOST_VIDEO_FRAMES} frames: cut out the part that is needed")
            status = process.wait()
        finally:
            late.cancel()
            if process.poll() is None:
                process.kill()
    return listing.result(failed=status != 0)


class _Listing:
    """Takes in ffmpeg's report line by line."""

    def __init__(self) -> None:
        self.found = ShownFrames()
        self.times, self.durations = array("q"), array("q")
        self._head: list[str] = []
        self._work: list[str] = []
        self._room = MOST_MESSAGES
        self._numbered_from = 0

    def add(self, line: str) -> None:
        """Take in a line, which begins with where it comes from and its level."""
        if frame := _FRAME.match(line):
            if self._numbered_from + int(frame[1]) == len(self.times):
                self._add_frame(frame[2], frame[3], frame[4])
        elif clock := _CLOCK.match(line):
            self.found.step = Fraction(int(clock[1]), max(1, int(clock[2])))
            self.found.kinds += 1
            self._numbered_from = len(self.times)
        if len(self.times) > 1 and "[Parsed_showinfo" in line:
            return
        level = _LEVEL.match(line)
        text = line[level.end() :] if level else line
        self._room -= len(line)
        if self._room < 0:
            return
        if text.startswith("Stream mapping:"):  # the file's own texts stand above it, and could say anything
            self._head += self._work
            self._work, self._numbered_from = [], 0
            self.times, self.durations = array("q"), array("q")
            self.found.interlaced = self.found.kinds = 0
        self._work.append(text)
        if level and level[1] in ("error", "fatal", "panic"):
            self.found.errors += line.replace(f"[{level[1]}] ", "")

    def _add_frame(self, shown: str, duration: str | None, kind: str) -> None:
        last = self.times[-1] if self.times else 0
        ticks = max(-_MOST_TICKS, min(int(shown), _MOST_TICKS)) if shown != "NOPTS" else last
        self.times.append(max(ticks, last) if self.times else ticks)
        self.durations.append(min(max(0, int(duration or 0)), _MOST_TICKS))
        self.found.interlaced += kind in "TB"

    def result(self, *, failed: bool = False, most: int | None = None) -> ShownFrames:
        """All that was said, or what concerns the first `most` frames."""
        found, times = self.found, np.array(self.times, np.int64)
        found.failed, found.whole = failed, most is None
        found.header, found.first = "".join(self._head), "".join(self._work)
        if most is not None:
            found.ticks = times[: most + 1]
        elif len(times):
            found.ticks = np.append(times, times[-1] + self._last(times))
        return found

    def _last(self, times: np.ndarray) -> int:
        """How long the last frame is shown: its own duration, unless the file is over before."""
        steps = np.diff(times)
        usual = max(1, int(np.median(steps)) if len(steps) else 1)
        last = self.durations[-1] or usual
        if self.found.announced is not None and self.found.step and last > usual:
            # Where frames are stored in another order than they are shown, its duration may be that of another.
            last = max(usual, min(last, round((self.found.announced + _ROUNDED) / self.found.step) - int(times[-1])))
        return last
