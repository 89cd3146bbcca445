"""Connect to a Ray cluster, and ask what its nodes have."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from atlas.errors import UserError
from atlas.system.terminal import in_one_line
from scripts.plans.engines.ray.placing import Node

_ANSWERS = 5.0  # seconds in which a machine answers, or does not
_SETTINGS = 4  # type of an HTTP/2 frame
_INSTALL = "pip install -e .[cluster]"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Be connected to a cluster within the block; gives the module ray. UserError says what is in the way.

    address: HOST:PORT of its head; None: of the cluster that this machine is a node of.
    """
    if sys.platform == "win32":
        raise UserError("--engine ray runs on Linux and macOS: use --engine local here")
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"--engine ray needs Ray: {_INSTALL}")
    if address is not None:
        _check_answers(address)
    # Read where a worker is started: what it has started itself goes with it. Nodes have it where `ray start` was told so.
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "1")
    import ray

    try:
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.ERROR)
    except Exception as problem:  # of whatever kind it is, the cluster cannot be used
        ray.shutdown()
        raise UserError(_reason(address, f"{problem} {problem.__cause__ or ''}")) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def nodes_of(ray: Any) -> list[Node]:
    """The nodes of the cluster that are alive."""
    ours = ray.get_runtime_context().get_node_id()
    return [_node(entry, ours) for entry in ray.nodes() if entry["Alive"]]


def _node(entry: dict[str, Any], ours: str) -> Node:
    has, name = entry["Resources"], entry["NodeID"]
    memory = has.get("memory", 0.0) / 2**20
    return Node(name, has.get("CPU", 0.0), has.get("GPU", 0.0), memory, is_ours=name == ours)


def _check_answers(address: str) -> None:
    """UserError where an address is none, or nothing answers there; Ray itself would try for a minute."""
    host, colon, port = address.rpartition(":")
    if not host or not colon or not port.isdecimal() or "/" in address:
        raise UserError(f"--address {in_one_line(address)[:80]}: give HOST:PORT, as `ray start --head` says it")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWERS) as connection:
            speaks_grpc = "RAY_USE_TLS" in os.environ or _speaks_http2(connection)
    except (OSError, OverflowError, UnicodeError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise UserError(f"--address {address} does not answer ({why}): start a cluster there with `ray start --head`") from None
    if not speaks_grpc:
        raise UserError(f"--address {address} is no Ray cluster: give HOST:PORT, as `ray start --head` says it")


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether the other end speaks HTTP/2, as Ray does: both begin with a frame of settings (RFC 9113, 3.4)."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0)))
    began = b""
    while len(began) < 4 and (more := connection.recv(4 - len(began))):
        began += more
    return len(began) == 4 and began[3] == _SETTINGS


def _reason(address: str | None, problem: str) -> str:
    """Why a cluster cannot be used, and what to do, in a line."""
    if "Version mismatch" in problem:
        versions = in_one_line(problem.partition("Version mismatch:")[2])
        return f"Ray's or Python's version here is another than the cluster's: install the same on all nodes ({versions})"
    if "AuthToken" in problem or "AuthenticationError" in problem:
        return "the Ray cluster wants a token: set RAY_AUTH_MODE=token, and give its token as Ray's documentation says"
    if address is None:
        return "no Ray cluster runs on this machine: start one with `ray start --head`, or join one with `ray start --address`"
    return f"--address {address}: {in_one_line(problem)[:300]}"
