"""Guard of the app: who may ask, from which page, how much at once. It stands before every route, Gradio's own included."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import platform
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost", "::1")
MOST_AT_ONCE = 64
"""Requests that are answered at once; more are told to come back."""
LARGEST_BODY = 4 << 20
"""Bytes of a request, where its route says nothing else."""
_CLOSED = (
    "file",  # files are served by /files alone: Gradio's way leads to its cache, and to addresses elsewhere
    "proxy",
    "upload",  # uploads go through /api/upload, which checks them
    "process_recording",
    "component_server",  # it lists folders of the machine
    "stream",
    "run-history",
    "runs",
    "vibe",
    "undo-vibe",
    "dev",
    "profiling",
    "deep_link",
)
"""Routes of Gradio below /gradio_api/ that are not used, by how they begin."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Gradio's pages hold scripts and styles of their own; nothing is loaded from, or sent to, anywhere else.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; frame-src 'self'; frame-ancestors 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'",
}
_ASKING = ("GET", "HEAD")


@dataclass(frozen=True)
class Rules:
    """What the guard lets pass."""

    host: str = "127.0.0.1"
    """Where the app listens."""
    token: str | None = None
    """What has to be known to ask for anything; None: whoever reaches the machine's own address may."""
    bodies: dict[str, int] = field(default_factory=dict)
    """Bytes that a request may have, by the beginning of its path."""

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the token: apps on other ports of a host have other ones."""
        return f"layered-atlas-{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"


class Guard:
    """ASGI middleware that refuses what the rules do not let pass, before anything of it is read."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules, self._inside = app, rules, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
            return
        self._inside += 1
        try:
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            else:
                await self._answer(scope, receive, send)
        finally:
            self._inside -= 1

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Why a request does not pass, as an answer; None where it does."""
        path, rules = scope["path"], self._rules
        if not _is_our_host(headers.getlist("host"), rules):
            return PlainTextResponse("this is not the address that the app was opened at", 421)
        if problem := _foreign(scope, headers):
            return PlainTextResponse(f"refused: {problem}", 403)
        if rules.token is not None and (stranger := self._stranger(scope, headers)) is not None:
            return stranger
        within = path.partition("/gradio_api/")[2]
        if within.startswith(_CLOSED) or path.startswith("/monitoring"):
            return PlainTextResponse("there is nothing here", 404)
        length = headers.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit() and int(length) <= self._most(path)):
            return PlainTextResponse(_too_large(self._most(path)), 413)
        if self._inside >= MOST_AT_ONCE:
            return PlainTextResponse("too much at once: try again in a moment", 503, {"Retry-After": "1"})
        return None

    def _stranger(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to somebody who does not know the token, or who brings it in the address to be kept as a cookie."""
        rules, query = self._rules, parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), None)
        if given is not None and _same(given, rules.token) and scope["type"] == "http" and scope["method"] in _ASKING:
            # From the address bar into a cookie: an address is copied, kept and shown.
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            answer = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            if answer.headers["location"].startswith("//"):  # that would be an address elsewhere
                return PlainTextResponse("there is nothing here", 404)
            answer.set_cookie(rules.cookie, given, httponly=True, samesite="strict", max_age=30 * 86400)
            return answer
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer.strip(), rules.token):
            return None
        if _same(_cookie(headers, rules.cookie), rules.token):
            return None
        return PlainTextResponse("open the address that scripts/app.py printed: it has a token that belongs to it", 401)

    def _most(self, path: str) -> int:
        return next((most for start, most in self._rules.bodies.items() if path.startswith(start)), LARGEST_BODY)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        most, seen, begun = self._most(scope["path"]), 0, False

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise _TooLargeError
            return message

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, bounded, with_headers)
        except _TooLargeError:
            if begun:
                raise
            await _refuse(PlainTextResponse(_too_large(most), 413, {"Connection": "close"}), scope, receive, send)


class _TooLargeError(Exception):
    """A body without a length turned out to be too long."""


async def _refuse(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
        return
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    await answer(scope, receive, send)


def _is_our_host(hosts: list[str], rules: Rules) -> bool:
    """Whether a request names this machine: a page elsewhere may have its own name lead here (DNS rebinding)."""
    if len(hosts) != 1:
        return False
    try:
        name = urlsplit(f"//{hosts[0]}").hostname or ""
    except ValueError:
        return False
    name = name.rstrip(".")
    if name in LOCAL or name == rules.host.lower():
        return True
    # Listening elsewhere: under numbers, or the machine's own name. Other names may belong to anybody.
    return rules.host not in LOCAL and (_is_number(name) or name in _own_names())


def _own_names() -> set[str]:
    node = platform.node().lower()
    return {node, node.partition(".")[0], f"{node.partition('.')[0]}.local"} - {"", ".local"}


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _foreign(scope: Scope, headers: Headers) -> str | None:
    """What tells that a page of another site asks; None where it is our own page, the address bar, or no browser."""
    origin = headers.get("origin")
    if origin is not None:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return "the request comes from another page"
        if parts.scheme not in ("http", "https") or parts.netloc.lower() != headers["host"].lower():
            return "the request comes from another page"
    site = headers.get("sec-fetch-site")
    if site in (None, "same-origin", "none"):
        return None
    opens = scope["type"] == "http" and scope["method"] == "GET" and headers.get("sec-fetch-dest") == "document"
    if opens and headers.get("sec-fetch-mode") == "navigate":  # a link to the app
        return None
    return "the request comes from another site"


def _cookie(headers: Headers, name: str) -> str | None:
    for line in headers.getlist("cookie"):
        try:
            cookies = SimpleCookie(line)
        except CookieError:
            continue
        if name in cookies:
            return cookies[name].value
    return None


def _same(given: str | None, token: str | None) -> bool:
    return given is not None and token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _too_large(most: int) -> str:
    return f"the request is larger than the {most >> 20} MB that it may have"
