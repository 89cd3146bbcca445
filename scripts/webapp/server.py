"""Server of the app: routes of JSON below /api, files, and the pages, behind the guard."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from atlas.errors import BusyError, UserError, one_line
from scripts.webapp.clips import clips_of, describe_clip
from scripts.webapp.files import file_routes, url_of
from scripts.webapp.forms import FormError, form_of
from scripts.webapp.guard import Guard, Rules
from scripts.webapp.pages.own import add_own_pages
from scripts.webapp.painting import painting_routes
from scripts.webapp.paths import name_of
from scripts.webapp.pictures import picture_routes
from scripts.webapp.results import result_routes
from scripts.webapp.uploads import LARGEST, Uploads
from scripts.webapp.work import Work

_LOOK = 0.25  # seconds between two looks at a job that somebody follows
_LONGEST = 300.0  # seconds of one answer that follows a job: the page asks again
_CACHE = "GRADIO_TEMP_DIR"


def make_app(root: Path, token: str | None = None, *, host: str = "127.0.0.1", largest_upload: int = LARGEST) -> FastAPI:
    """Make the app for the clips below `root`, which is made if it is missing.

    token: what has to be known to ask for anything; None for an app that only its own machine reaches. host: where it is to
    listen. largest_upload: bytes. Jobs that it started and that run when it ends are interrupted then.
    """
    root.mkdir(parents=True, exist_ok=True)
    root = Path(os.path.realpath(root))
    work = Work(root)
    app = FastAPI(lifespan=_lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.work = work
    app.include_router(_clip_routes(work))
    app.include_router(_job_routes(work))
    app.include_router(_upload_routes(Uploads(root, largest_upload)))
    app.include_router(file_routes(root))
    app.include_router(picture_routes(root))
    app.include_router(result_routes(root))
    app.include_router(painting_routes(work))
    app.add_exception_handler(UserError, _refused)
    app.add_exception_handler(BusyError, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    add_own_pages(app)
    _mount_pages(app, work)
    bodies = {"/api/upload": largest_upload, "/api/paint": 1 << 29}
    app.add_middleware(Guard, rules=Rules(host, token, bodies))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await run_in_threadpool(app.state.work.close)


def _clip_routes(work: Work) -> APIRouter:
    routes = APIRouter(prefix="/api")

    @routes.get("/clips")
    def clips() -> dict[str, Any]:
        return {"root": str(work.root), "clips": clips_of(work.root)}

    @routes.get("/clip")
    def clip(clip: str) -> dict[str, Any]:
        return describe_clip(work.root, work.clip_folder(clip)) | {"jobs": work.jobs(clip)}

    @routes.get("/forms/{stage}")
    def form(stage: str) -> list[dict[str, Any]]:
        return [field.to_dict() for field in form_of(stage)]

    return routes


def _job_routes(work: Work) -> APIRouter:
    routes = APIRouter(prefix="/api/jobs")

    @routes.get("")
    def jobs(clip: str) -> list[dict[str, Any]]:
        return work.jobs(clip)

    @routes.post("", status_code=201)
    def start(
        clip: Annotated[str, Body()], stage: Annotated[str, Body()], values: Annotated[dict[str, Any], Body()]
    ) -> dict[str, Any]:
        return work.describe(work.start(clip, stage, values))

    @routes.post("/again", status_code=201)
    def again(clip: Annotated[str, Body()], id: Annotated[str, Body()]) -> dict[str, Any]:  # noqa: A002
        return work.describe(work.again(clip, id))

    @routes.post("/cancel")
    def cancel(clip: Annotated[str, Body()], id: Annotated[str, Body()]) -> dict[str, Any]:  # noqa: A002
        job = work.job(clip, id)
        job.cancel()
        return work.describe(job)

    @routes.get("/state")
    def state(clip: str, id: str) -> dict[str, Any]:  # noqa: A002
        return work.describe(work.job(clip, id))

    @routes.get("/log")
    def log(clip: str, id: str) -> dict[str, str]:  # noqa: A002
        return {"log": work.job(clip, id).log()}

    @routes.get("/follow")
    def follow(clip: str, id: str) -> StreamingResponse:  # noqa: A002
        job = work.job(clip, id)

        async def states() -> AsyncIterator[str]:
            sent, end = "", time.monotonic() + _LONGEST
            while time.monotonic() < end:
                about = await run_in_threadpool(work.describe, job)
                if (text := json.dumps(about)) != sent:
                    sent = text
                    yield f"data: {text}\n\n"
                if about["state"]["name"] != "running":
                    break
                await asyncio.sleep(_LOOK)

        return StreamingResponse(states(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return routes


def _upload_routes(uploads: Uploads) -> APIRouter:
    routes = APIRouter(prefix="/api/upload")

    @routes.post("", status_code=201)
    async def upload(request: Request, name: str, folder: str = "") -> dict[str, Any]:
        length = request.headers.get("content-length")
        path = await uploads.take(request.stream(), name, folder, int(length) if length else None)
        return {"path": name_of(uploads.root, path), "url": url_of(uploads.root, path)}

    @routes.post("/folder", status_code=201)
    def folder(name: str) -> dict[str, str]:
        path = uploads.new_folder(name)
        return {"folder": path.name, "path": name_of(uploads.root, path)}

    return routes


def _mount_pages(app: FastAPI, work: Work) -> None:
    """Mount Gradio's pages at the root, without what is not for us: statistics, links to the public, files from elsewhere."""
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SHARE": "False"}
    if _CACHE not in os.environ:
        os.environ[_CACHE] = tempfile.mkdtemp(prefix="layered-atlas-app-")
        atexit.register(shutil.rmtree, os.environ[_CACHE], ignore_errors=True)
    import gradio

    from scripts.webapp.pages import build_pages
    from scripts.webapp.pages.look import HEAD, theme

    gradio.mount_gradio_app(
        app,
        build_pages(work),
        path="/",
        theme=theme(),
        head=HEAD,
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        allowed_paths=[],
        blocked_paths=[str(work.root)],
        show_error=True,
        max_file_size="1mb",
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
    )


async def _refused(request: Request, problem: Exception) -> JSONResponse:
    """What somebody has to change, as the command would say it; by field, where it is about a form."""
    status = 409 if isinstance(problem, BusyError) else 422
    errors = problem.errors if isinstance(problem, FormError) else {"": one_line(problem)}
    return JSONResponse({"error": str(problem), "errors": errors}, status)


async def _not_understood(request: Request, problem: Exception) -> JSONResponse:
    """What is not of the type that a route takes."""
    first = problem.errors()[0] if isinstance(problem, RequestValidationError) else {}
    where = ".".join(str(part) for part in first.get("loc", ())[1:])
    text = f"the request is not understood: {where}: {first.get('msg', '')}"[:300]
    return JSONResponse({"error": text, "errors": {"": text}}, 422)
