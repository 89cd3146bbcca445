"""Report: how a stage ended on another machine, as the store tells the one that runs the plan."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from atlas.storage.json_text import parsed
from scripts.plans.store.remote import Remote, StoreError

_LARGEST = 40_000_000  # bytes


@dataclass(frozen=True)
class Report:
    """What became of one try of a task."""

    status: int
    made: str
    """Digest of what it made (`Manifest.made`)."""
    result: str
    """What it printed, where it is done."""
    said: str
    """The end of what it said on standard error."""
    traffic: dict[str, int] = field(default_factory=dict)
    """Requests and bytes."""

    def write(self, remote: Remote, name: str) -> None:
        """Put it into the store."""
        remote.put(f"reports/{name}.json", json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, remote: Remote, name: str) -> Report | None:
        """Take it from the store, where it is; None where there is none that can be read."""
        try:
            saved = parsed(remote.get(f"reports/{name}.json", _LARGEST) or b"null")
            texts = (saved["made"], saved["result"], saved["said"])
            right = type(saved["status"]) is int and all(isinstance(text, str) for text in texts)
            traffic = {str(key): int(value) for key, value in saved["traffic"].items()}
            return cls(saved["status"], *texts, traffic) if right else None
        except (StoreError, KeyError, TypeError, ValueError, AttributeError):
            return None
