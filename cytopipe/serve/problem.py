"""A refusal as problem details (RFC 9457): ``application/problem+json`` with five fields."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["MEDIA_TYPE", "problem"]

MEDIA_TYPE = "application/problem+json"


def problem(status: int, detail: str, instance: str) -> dict[str, object]:
    """The five fields of a problem.

    Parameters
    ----------
    status : int
        HTTP status code.
    detail : str
        What is wrong with this request, in a sentence.
    instance : str
        The path that was asked for.
    """
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
