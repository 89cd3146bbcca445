"""What a picture's file says of it before its pixels are decoded."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_PARTS = 1 << 18
"""Chunks of a PNG, markers of a JPEG: files have a few dozen, those of many small ones a few thousand."""
MOST_PROFILE = 1 << 22
"""Bytes of a colour profile: those of printing presses have two or three millions."""


@dataclass(frozen=True)
class Header:
    """What a picture's file says of it."""

    width: int
    """Pixels as shown: after the turn that the file asks for."""
    height: int
    channels: int
    depth: int
    """Bytes of a number."""
    palette: bool = False
    """It stores numbers of colours."""
    jpeg: bool = False
    inks: bool = False
    """Its colours are those of a printing press (CMYK)."""
    orientation: int = 1
    """Of Exif, 1 to 8: which way the stored pixels have to be turned to be shown."""
    profile: bytes = field(default=b"", repr=False)
    """The ICC profile that says what its colours mean; empty where there is none."""
    clear: int | None = None
    """Of a grey PNG, the decoded value that is transparent."""
    scans_from: int = 0
    """Of a JPEG, the first byte after its first scan's marker."""
    several_scans: bool = False
    """Its pixels come in several scans."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as shown."""
        return self.height, self.width

    @property
    def stored_size(self) -> tuple[int, int]:
        """(H, W) of the pixels in the file."""
        return self.size[::-1] if self.orientation > 4 else self.size

    @property
    def decoded(self) -> int:
        """Bytes of the picture in memory; grey counts as three channels, which it becomes in most uses."""
        return self.width * self.height * max(self.channels, 3) * self.depth
