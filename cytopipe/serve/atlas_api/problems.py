"""Every error on the way to an answer, as problem details (RFC 9457).

Our errors, FastAPI's validation errors and HTTP errors become ``application/problem+json``. A fault of the
request has a status of 4xx and says what was expected and found; a fault of the files has 5xx. No path of the
machine leaves.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cytopipe.atlas.catalogue import NotFoundError
from cytopipe.errors import CytopipeError, UnsafeNameError
from cytopipe.serve.atlas_api.models import Problem
from cytopipe.serve.problem import MEDIA_TYPE, problem

__all__ = ["PROBLEM_RESPONSES", "add_problem_handlers"]

PROBLEM_RESPONSES = {
    status: {"model": Problem, "description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {}}}
    for status in (400, 404, 422, 500)
}
"""For the OpenAPI document: every route may answer these."""


def add_problem_handlers(app: FastAPI, root: Path) -> None:
    """Make every error of `app` a problem; `root` is never named in one."""

    def answer(request: Request, status: int, detail: str, headers: dict | None = None) -> JSONResponse:
        body = problem(status, _without(detail, root), request.url.path)
        return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)

    @app.exception_handler(CytopipeError)
    def ours(request: Request, error: CytopipeError) -> JSONResponse:
        if isinstance(error, NotFoundError):
            status = 404
        elif isinstance(error, UnsafeNameError):
            status = 422
        else:  # the files are ours to keep whole: what is wrong with them is no fault of the request
            status = 500
        return answer(request, status, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        return answer(request, 422, "; ".join(faults))

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(request, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        return answer(request, 500, f"an error of the server: {type(error).__name__}")


def _without(detail: str, root: Path) -> str:
    """`detail` without directories of this machine: file names alone say enough."""
    for known in {str(root), str(root.resolve())}:
        detail = detail.replace(known, "")
    return re.sub(r"(?<![\w.])/(?:[^\s/:;,]+/)+", "", detail)
