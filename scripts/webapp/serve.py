"""The command of the app: its options, and the server that it runs until it is stopped."""

from __future__ import annotations

import importlib.util
import secrets
import signal
import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import tyro

from atlas.errors import UserError
from atlas.system.command import CommonOptions
from atlas.system.terminal import say
from scripts.webapp.guard import LOCAL

PORT = 7860
_PORTS = 40  # that are tried from there on
_NEEDED = ("fastapi", "uvicorn", "gradio")
_ANYWHERE = ("0.0.0.0", "::")
_PATIENCE = 2  # seconds that pages have to let go when the app ends


@dataclass(kw_only=True)
class AppOptions(CommonOptions):
    """Edit clips in a browser. Stopped (Ctrl-C), it interrupts what it started; the same stage goes on with that later."""

    root: tyro.conf.Positional[Path] = Path("data")
    """Folder of clips; the app reads and writes nothing outside of it. What is uploaded goes to ROOT/uploads."""
    host: str = "127.0.0.1"
    """Where to listen: as it is, only this machine reaches the app; 0.0.0.0 for all. Elsewhere a token is asked for."""
    port: int | None = None
    """Port to listen at. Default: 7860, or the next free one."""
    token: str | None = None
    """What has to be known to use the app. Default: none on this machine alone, else one that is made up and printed."""
    open: bool = False
    """Open the app in the browser."""
    largest_upload: int = 1024
    """Megabytes that an upload may have."""


def serve(options: AppOptions) -> None:
    """Run the app until it is stopped; prints its address. UserError where it cannot be run as asked."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the app needs {' and '.join(missing)}: pip install -e .[ui]")
    if options.root.exists() and not options.root.is_dir():
        raise UserError(f"{options.root} is a file: name a folder of clips")
    if options.token is not None and not (options.token.isascii() and options.token.isprintable() and len(options.token) >= 8):
        raise UserError("--token is too short or holds odd characters: give at least 8 letters and digits, or leave it out")
    if not 1 <= options.largest_upload <= 1 << 20:
        raise UserError(f"--largest-upload {options.largest_upload} is out of range: choose from 1 to {1 << 20} megabytes")
    with listening(options.host, options.port) as listener:
        _serve(options, listener)


def _serve(options: AppOptions, listener: socket.socket) -> None:
    token = options.token or (None if options.host in LOCAL else secrets.token_urlsafe(24))
    port = listener.getsockname()[1]
    import uvicorn

    from scripts.webapp.server import make_app

    app = make_app(options.root, token, host=options.host, largest_upload=options.largest_upload << 20)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_PATIENCE,
    )
    server = uvicorn.Server(config)
    if hasattr(signal, "SIGHUP"):  # the terminal was closed
        signal.signal(signal.SIGHUP, server.handle_exit)
    address = address_of(options.host, port, token)
    say(f"open {address}")
    if options.open:
        webbrowser.open(address)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # the usual way to end it
        say("stopped")
    finally:
        app.state.work.close()  # where a second Ctrl-C cut the end short


def address_of(host: str, port: int, token: str | None) -> str:
    """The address to open in a browser, with the token where one is needed."""
    name = socket.gethostname() if host in _ANYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={quote(token)}" if token else "")


def listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens at a port, or at the first free one; UserError where none is to be had."""
    if port is not None and not 0 <= port < 65536:
        raise UserError(f"--port {port} is no port: choose from 1 to 65535")
    problem: OSError | None = None
    for number in [port] if port is not None else range(PORT, PORT + _PORTS):
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # on Windows it would share a port in use
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, number))
            listener.listen(2048)
            return listener
        except OSError as one:
            listener.close()
            problem = one
    where = f"{host}:{port}" if port is not None else f"{host}, ports {PORT} to {PORT + _PORTS - 1},"
    reason = problem.strerror if problem else ""
    raise UserError(f"cannot listen at {where} ({reason}): choose another --port or --host")
