"""Site: machines of a simulated cluster and what they share, and what a stage costs there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StageCost:
    """What a stage of a clip of usual length costs."""

    cpu_seconds: float
    peak_mb: float
    read_bytes: float
    """Of its clip, file by file, that it reads."""
    bytes_up: float
    """That it writes."""
    puts: float
    gets: float
    """Requests where the clip is there already."""
    bring_bytes: float
    """That the clip has before it."""
    bring_gets: float
    outside_bytes: float = 0.0
    """That it reads from outside of its clip: the source."""
    gpus: float = 0.0


@dataclass(kw_only=True)
class Site:
    """Machines, and what they share."""

    nodes: int = 1000
    cores: int = 16
    memory_mb: int = 64_000
    gpu_nodes: int = 0
    """Nodes that have GPUs."""
    gpus: int = 4
    """Of each of those."""
    is_store: bool = False
    """Whether clips are brought from a store, and lie on the node that had them last; else all nodes share a disk."""
    shared_mb: float = 10_000.0
    """MB a second of the disk or the store, for all nodes together."""
    node_mb: float = 1000.0
    """MB a second of a node's network."""
    request_ms: float = 0.0
    """Of a request to the store."""
    affinity: bool = True
    """Whether a task is started where its clip was last, if there is room."""
    scheduler_ms: float = 0.25
    """That the scheduler takes for a task, in all."""
    spread: float = 0.3
    """Standard deviation of the logarithm of a stage's seconds."""
    slow: float = 0.02
    """Share of nodes that take three times as long."""
    failures: float = 1000.0
    """Hours after which a node fails, in the mean; 0: none does."""
    crashes: float = 0.001
    """Share of tries that end by a signal."""
    repair: float = 600.0
    """Seconds after which a node is back, with an empty disk."""
    expires: float = 110.0
    """Seconds for which the claim of a node that failed keeps others from its clips in a store."""
