"""The client guard: whatever a run sends carries its deadline, and a shadow run changes nothing in the outside world.

    session = aiohttp.ClientSession(middlewares=[rollout_aiohttp.guard(allow=["https://api.model.example/v1/"])])

It acts by the context variable of the run, so one session serves control, live and shadow branches; outside of a run
it does nothing. Put it *last*: a middleware after it could still change a request that it let pass. Every hop of a
redirect comes by again. (`middlewares=` of one request replaces the session's, guard included: aiohttp's rule.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, hdrs

from rollout.context import RunContext, current_run
from rollout.errors import SideEffectRefused
from rollout_aiohttp.addresses import Allowed, address_of
from rollout_aiohttp.marks import BAGGAGE, BAGGAGE_SHADOW, DEADLINE, SHADOW, baggage_without_marks

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Frameworks that honour one of these make another method of a harmless one.
_OVERRIDES: Final = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
_MAX_BAGGAGE: Final = 8192  # bytes; W3C Baggage, 3.3.2: more need not be carried on


def guard(*, allow: Sequence[str] = (), wall: Callable[[], float] = time.time) -> ClientMiddlewareType:
    """A client middleware for ``ClientSession(middlewares=[…])``.

    * ``allow``: addresses that a shadow run may send any method to, such as a model's: scheme, host, port and path
    are compared as parsed, the path by whole segments. Default none. ``DeclarationError`` names every one that is not
    usable. * ``wall``: the clock, epoch seconds.

    In shadow and live runs with a deadline: ``X-Request-Deadline``, epoch seconds (UTC) with three decimals, unless
    the request has one. In shadow runs: ``X-Rollout-Shadow: 1`` and the baggage member ``rollout.shadow=1``; and
    anything but GET, HEAD and OPTIONS, a WebSocket or a method override raises ``SideEffectRefused``, which is
    counted, unless the address is allowed.
    """
    allowed = Allowed(allow)

    async def middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        run = current_run.get()
        if run is not None:
            if run.is_shadow:
                if _has_effects(request) and not allowed.covers(request.url, request.headers.get(hdrs.HOST)):
                    _refuse(request, run)
                _mark(request)
            _tell_deadline(request, run, wall)
        return await handler(request)

    return middleware


def _has_effects(request: ClientRequest) -> bool:
    if request.method not in _SAFE or hdrs.UPGRADE in request.headers:
        return True
    return any(request.headers.get(name, "GET").strip().upper() not in _SAFE for name in _OVERRIDES)


def _refuse(request: ClientRequest, run: RunContext) -> None:
    address = address_of(request.url)
    if run.blocked is not None:
        run.blocked(request.method, address)
    raise SideEffectRefused(
        f'{request.method} {address} was not sent: branch "{run.branch}" of rollout "{run.rollout}" runs in shadow, '
        "where nothing may change. Ask call.is_shadow before it, or name the address in guard(allow=[…]) if it is safe."
    )


def _mark(request: ClientRequest) -> None:
    headers = request.headers
    headers[SHADOW] = "1"
    kept = [rest for value in headers.popall(BAGGAGE, []) if (rest := baggage_without_marks(value))]
    baggage = ",".join([*kept, BAGGAGE_SHADOW])
    headers[BAGGAGE] = baggage if len(baggage) <= _MAX_BAGGAGE else ",".join(kept)


def _tell_deadline(request: ClientRequest, run: RunContext, wall: Callable[[], float]) -> None:
    remaining = run.remaining_s
    if remaining is not None and DEADLINE not in request.headers:
        request.headers[DEADLINE] = f"{wall() + remaining:.3f}"
