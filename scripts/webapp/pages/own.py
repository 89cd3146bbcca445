"""Our own pages beside Gradio's: the painter, and the panels that stand in frames."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

_HERE = Path(__file__).resolve().parents[1]


class _Fresh(StaticFiles):
    """Files that the browser asks about each time: they change when the program does."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with the file, or with that it is the same."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def add_own_pages(app: FastAPI) -> None:
    """Add the painter at /paint, and what it and the panels are made of."""
    app.mount("/painter", _Fresh(directory=_HERE / "painter"))
    app.mount("/panels", _Fresh(directory=_HERE / "panels"))

    @app.get("/paint")
    def paint() -> FileResponse:
        return FileResponse(_HERE / "painter" / "index.html", headers={"Cache-Control": "no-cache"})
