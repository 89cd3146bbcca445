"""A server of the app on a free port of this machine, and requests to it that are sent as they are written."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A running server."""

    root: Path
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    """That every request has."""

    def ask(
        self, method: str, target: str, body: bytes | None = None, *, json_body: Any = None, **headers: str | None
    ) -> Answer:
        """Send a request; nothing of the target is made tidy. Headers: underscores for hyphens, None to leave one out."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Host": f"127.0.0.1:{self.port}"} | self.headers | {k.replace("_", "-"): v for k, v in headers.items()}
        if json_body is not None:
            body, sent = json.dumps(json_body).encode(), sent | {"Content-Type": "application/json"}
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, target: str, **headers: str | None) -> Answer:
        return self.ask("GET", target, **headers)

    def post(self, target: str, value: Any, **headers: str | None) -> Answer:
        return self.ask("POST", target, json_body=value, **headers)


@contextlib.contextmanager
def serving(root: Path, token: str | None = None, host: str = "127.0.0.1", **options: Any) -> Iterator[Served]:
    """Run the app in this process until the block ends."""
    import uvicorn

    from scripts.webapp.serve import listening
    from scripts.webapp.server import make_app

    with listening("127.0.0.1", 0) as listener:
        app = make_app(root, token, host=host, **options)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served(root, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(60)
