"""Who may ask: requests that must fail on a real server, on every kind of route, Gradio's own included."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from served import Served, serving
from starlette.types import Message, Receive, Scope, Send

from scripts.webapp.guard import MOST_AT_ONCE, Guard, Rules

TOKEN = "a-token-for-tests"
ROUTES = [
    ("GET", "/"),
    ("GET", "/config"),
    ("GET", "/api/clips"),
    ("GET", "/api/clip?clip=swan"),
    ("GET", "/api/forms/fit"),
    ("GET", "/files/swan/clip.json"),
    ("POST", "/api/jobs"),
    ("POST", "/api/jobs/again"),
    ("POST", "/api/jobs/cancel"),
    ("POST", "/api/upload?name=a.mp4"),
    ("POST", "/api/upload/folder?name=a"),
    ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/run/predict"),
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/heartbeat/a"),
    ("GET", "/nothing/here"),
]


@pytest.mark.parametrize(("method", "target"), ROUTES)
def test_another_host_is_refused(method: str, target: str, app: Served) -> None:
    """A page elsewhere whose name was made to lead to this machine."""
    for host in (
        "evil.example",
        f"evil.example:{app.port}",
        "127.0.0.1.evil.example",
        "",
        "localhost@evil.example",
        "192.168.1.9",
    ):
        assert app.ask(method, target, b"", Host=host).status in (400, 421), host
    assert app.ask(method, target, b"", Host=None).status in (400, 421)


@pytest.mark.parametrize(("method", "target"), ROUTES)
def test_another_origin_is_refused(method: str, target: str, app: Served) -> None:
    others = ["https://evil.example", "null", "http://localhost:3000", f"http://evil.example:{app.port}", "http://[", "file://"]
    for origin in others:
        assert app.ask(method, target, b"", Origin=origin).status == 403, origin
    for site in ("cross-site", "same-site"):
        assert app.ask(method, target, b"", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403


def test_a_websocket_from_elsewhere_is_refused(app: Served) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Key": "a" * 22 + "==",
        "Sec_WebSocket_Version": "13",
    }
    assert app.get("/queue/join", Origin="https://evil.example", **upgrade).status == 403
    assert app.get("/queue/join", Host="evil.example", **upgrade).status == 421


def test_our_own_page_and_the_address_bar_pass(app: Served) -> None:
    for host in (f"127.0.0.1:{app.port}", f"localhost:{app.port}", "LOCALHOST", "[::1]:7860"):
        assert app.get("/api/clips", Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin").status == 200
    assert app.get("/", Sec_Fetch_Site="none", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document").status == 200
    assert app.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document").status == 200
    assert app.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe").status == 403


def test_answers_say_what_a_browser_may_do_with_them(app: Served) -> None:
    for target in ("/", "/api/clips", "/files/swan/clip.json", "/nothing", "/gradio_api/file=/etc/passwd"):
        headers = app.get(target).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["cross-origin-resource-policy"] == "same-origin" and "default-src" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


@pytest.fixture(scope="module")
def elsewhere(root: Path) -> Iterator[Served]:
    """The app as it listens on another host, which wants a token."""
    with serving(root, TOKEN, "0.0.0.0") as served:
        yield served


@pytest.mark.parametrize(("method", "target"), ROUTES)
def test_without_the_token_nothing_is_answered(method: str, target: str, elsewhere: Served) -> None:
    assert elsewhere.ask(method, target, b"").status == 401
    assert elsewhere.ask(method, target, b"", Authorization="Bearer a-token-for-test").status == 401
    assert elsewhere.ask(method, target, b"", Cookie="token=" + TOKEN).status == 401
    together = "&" if "?" in target else "?"
    assert elsewhere.ask(method, f"{target}{together}token=wrong", b"").status == 401


def test_the_token_comes_with_the_address_and_stays_as_a_cookie(elsewhere: Served) -> None:
    answer = elsewhere.get(f"/?token={TOKEN}&view=1")
    assert (answer.status, answer.headers["location"]) == (303, "/?view=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    assert elsewhere.get("/api/clips", Cookie=cookie.partition(";")[0]).status == 200
    assert elsewhere.get("/api/clips", Authorization=f"Bearer {TOKEN}").status == 200
    assert elsewhere.get(f"//evil.example/?token={TOKEN}").status == 404  # no way to send somebody elsewhere
    known = {"Authorization": f"Bearer {TOKEN}"}
    assert elsewhere.get("/api/clips", Host="192.168.1.9:7860", **known).status == 200
    assert elsewhere.get("/api/clips", Host="evil.example", **known).status == 421
    assert elsewhere.get("/api/clips", Origin="https://evil.example", **known).status == 403


@pytest.mark.parametrize(
    "name",
    ["root/swan/clip.json", "secret.txt", "root/link.txt", "root/linked/secret.png", "outside/secret.png"],
)
def test_gradio_is_no_way_around(name: str, app: Served) -> None:
    path = app.root.parent / name
    for target in (f"file={path}", f"file={path.as_uri()}", f"file/{path}", f"file%3D{path}", f"%66ile={path}"):
        for start in ("/gradio_api/", "//gradio_api/", "/gradio_api//", "/./gradio_api/"):
            answer = app.get(f"{start}{target}")
            assert answer.status in (403, 404, 422) and b"secret" not in answer.body, target


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/gradio_api/file=http://127.0.0.1:1/"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/run-history/connect"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/dev/reload"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/gradio_api/openapi.json/../../files/"),
    ],
)
def test_what_gradio_offers_beside_is_closed(method: str, target: str, app: Served) -> None:
    assert app.ask(method, target, b"{}").status in (404, 405)


def test_large_bodies_are_refused_unread(app: Served) -> None:
    for target in ("/api/jobs", "/api/jobs/cancel", "/gradio_api/queue/join", "/api/upload?name=a.mp4", "/"):
        answer = app.ask("POST", target, Content_Length=str(2 << 30))
        assert answer.status == 413 and b"larger than" in answer.body
        for length in ("-1", "1e3", "99999999999999999999999", "ten"):
            assert app.ask("POST", target, Content_Length=length).status in (400, 413)


def test_two_hundred_at_once(app: Served) -> None:
    """All are answered, some of them told to come again, and the server is as it was."""
    statuses: list[int] = []
    before = psutil.Process().memory_info().rss

    def ask() -> None:
        statuses.append(app.get("/api/clips").status)

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(statuses) == 200 and set(statuses) <= {200, 503} and statuses.count(200) >= 1
    assert app.get("/api/clips").status == 200
    assert psutil.Process().memory_info().rss - before < 200e6


def test_only_so_many_are_inside_at_once() -> None:
    """Known answer: of 200 requests that none ends before all have come, as many pass as may, the rest get 503."""
    statuses: Counter[int] = Counter()

    async def all_at_once() -> None:
        gate = asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guard = Guard(slow, Rules())
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"localhost")]}

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses[message["status"]] += 1

        tasks = [asyncio.create_task(guard(dict(scope), receive, send)) for _ in range(200)]
        await asyncio.sleep(0.1)
        gate.set()
        await asyncio.gather(*tasks)
        await guard(dict(scope), receive, send)  # there is room again

    asyncio.run(all_at_once())
    assert statuses == {200: MOST_AT_ONCE + 1, 503: 200 - MOST_AT_ONCE}
