"""aiohttp's exceptions by status, so that a reply which is raised looks to outer middlewares as control's own would."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from aiohttp import hdrs, web
from multidict import CIMultiDict


def exception_of(
    status: int,
    reason: str | None,
    headers: CIMultiDict[str],
    body: bytes,
    control: web.StreamResponse | None = None,
) -> web.HTTPException:
    """The exception of a status with these headers and this body, to be raised.

    Of control's class where that has the same status.
    """
    error = (
        _again(control)
        if isinstance(control, web.HTTPException) and control.status == status
        else _blank(status, headers)
    )
    error.set_status(status, reason)
    error.headers.clear()
    error.headers.extend(headers)
    error.body = body if body or not error.empty_body else None
    return error


def _again(control: web.HTTPException) -> web.HTTPException:
    """An exception like control's: its class (the user's own, perhaps) and the fields of that, without its response.

    Made without the class's constructor, whose arguments nobody knows.
    """
    kind = type(control)
    error = kind.__new__(kind)
    ordinary = {*vars(web.Response()), "_cookies"}
    error.__dict__.update({name: value for name, value in vars(control).items() if name not in ordinary})
    web.HTTPException.__init__(error)
    return error


def _blank(status: int, headers: CIMultiDict[str]) -> web.HTTPException:
    kind: Any = _class_of(status)
    error: Any
    if issubclass(kind, web.HTTPMove):
        error = kind("/")
        error.location = headers.get(hdrs.LOCATION, "")
    elif issubclass(kind, web.HTTPMethodNotAllowed):
        error = kind("", {name.strip() for name in headers.get(hdrs.ALLOW, "").split(",")} - {""})
    elif issubclass(kind, web.HTTPRequestEntityTooLarge):
        error = kind(0)
    elif issubclass(kind, web.HTTPUnavailableForLegalReasons):
        error = kind(None)
    else:
        error = kind()
    made: web.HTTPException = error
    return made


@cache
def _class_of(status: int) -> type[web.HTTPException]:
    """aiohttp's class of a status; one made for it where there is none."""
    for kind in _subclasses(web.HTTPException):
        if kind.status_code == status and kind.__module__.startswith("aiohttp."):
            return kind
    base = web.HTTPError if status >= 400 else web.HTTPRedirection if status >= 300 else web.HTTPSuccessful
    return type(f"HTTPStatus{status}", (base,), {"status_code": status, "__module__": __name__})


def _subclasses(kind: type[web.HTTPException]) -> Iterator[type[web.HTTPException]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)
