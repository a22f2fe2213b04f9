"""What goes into a fan-out and what comes out: ``Call``, ``Reply`` and ``Parts``, all immutable.

A ``Call`` is a view over a ``CallSource``: the fields are read when somebody asks for them, because most calls are
never looked at (an eager copy costs several microseconds, the view a fraction of one). The source promises that what
it hands out does not change any more; ``json()`` parses anew each time, so that one branch can never see what
another did to it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Headers(Mapping[str, str]):
    """Immutable, ordered, case-insensitive headers; a name may occur several times (``getall``)."""

    __slots__ = ("_index", "items_")

    def __init__(self, items: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        if isinstance(items, Headers):  # its `items()` has each name once
            items = items.items_
        pairs = items.items() if isinstance(items, Mapping) else items
        self.items_: tuple[tuple[str, str], ...] = tuple((str(name), str(value)) for name, value in pairs)
        index: dict[str, str] = {}
        for name, value in self.items_:
            index.setdefault(name.lower(), value)
        self._index = index

    def __getitem__(self, name: str) -> str:
        return self._index[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._index

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        for name, _ in self.items_:
            if name.lower() not in seen:
                seen.add(name.lower())
                yield name

    def __len__(self) -> int:
        return len(self._index)

    def getall(self, name: str) -> list[str]:
        """Every value of the name, in order; an empty list when there is none."""
        wanted = name.lower()
        return [value for header, value in self.items_ if header.lower() == wanted]

    def without(self, *names: str) -> Headers:
        """The same headers less those of the given names."""
        dropped = {name.lower() for name in names}
        return Headers(item for item in self.items_ if item[0].lower() not in dropped)

    def __repr__(self) -> str:
        return f"Headers({list(self._index)})"  # names only: values may be secrets


class Reply:
    """An immutable response: ``status``, ``headers`` (case-insensitive), ``body`` (bytes)."""

    __slots__ = ("_body", "_headers", "_raised", "_status")

    def __init__(
        self,
        status: int = 200,
        headers: Headers | Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        raised: bool = False,
    ) -> None:
        """``raised``: whether it was raised (``web.HTTPException``), so that it is raised again to the framework."""
        self._status = status
        self._body = body
        self._raised = raised
        self._headers = headers

    @property
    def status(self) -> int:
        return self._status

    @property
    def body(self) -> bytes:
        return self._body

    @property
    def raised(self) -> bool:
        return self._raised

    @property
    def headers(self) -> Headers:
        headers = self._headers
        if not isinstance(headers, Headers):
            headers = self._headers = Headers(headers)
        return headers

    @property
    def content_type(self) -> str:
        """The media type with its parameters, as sent; ``""`` when there is none."""
        return self.headers.get("Content-Type", "")

    @property
    def ok(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300

    def json_value(self) -> Any:
        """The body parsed as JSON, anew at each call. Raises ``ValueError`` if it is not JSON."""
        return json.loads(self.body)

    def text(self) -> str:
        """The body decoded as UTF-8; undecodable bytes become U+FFFD."""
        return self.body.decode("utf-8", "replace")

    @staticmethod
    def json(value: Any, status: int = 200, headers: Mapping[str, str] = NOTHING) -> Reply:
        """A JSON reply of a JSON-serialisable value. A ``Content-Type`` among ``headers`` takes the place of JSON's."""
        body = json.dumps(value).encode()
        given = tuple(headers.items())
        if not any(name.lower() == "content-type" for name, _ in given):
            given = (("Content-Type", "application/json; charset=utf-8"), *given)
        return Reply(status, given, body)

    @staticmethod
    def redirect(to: str, status: int = 302) -> Reply:
        """A redirect to an address."""
        return Reply(status, [("Location", to)])

    def __repr__(self) -> str:
        return f"Reply({self.status}, {len(self.body)} bytes)"


class CallSource(Protocol):
    """Where a ``Call`` reads its fields: one of an adapter, or ``CallData``."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def path_params(self) -> Mapping[str, str]: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def cookies(self) -> Mapping[str, str]: ...
    @property
    def resources(self) -> Mapping[Any, Any]: ...
    def form(self, body: bytes) -> Awaitable[Mapping[str, Any]]: ...


class CallData:
    """A ``CallSource`` of plain values: for tests, for plain Python calls, for replays."""

    __slots__ = ("cookies", "headers", "method", "path", "path_params", "query", "resources", "route")

    def __init__(
        self,
        *,
        method: str = "GET",
        path: str = "/",
        route: str | None = None,
        path_params: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        headers: Mapping[str, str] = NOTHING,
        cookies: Mapping[str, str] = NOTHING,
        resources: Mapping[Any, Any] = NOTHING,
    ) -> None:
        self.method: str = method
        self.path: str = path
        self.route: str = path if route is None else route
        self.path_params: Mapping[str, str] = MappingProxyType(dict(path_params))
        self.query: Mapping[str, str] = MappingProxyType(dict(query))
        self.headers: Mapping[str, str] = Headers(headers)
        self.cookies: Mapping[str, str] = MappingProxyType(dict(cookies))
        self.resources: Mapping[Any, Any] = resources

    async def form(self, body: bytes) -> Mapping[str, Any]:
        """The fields of an urlencoded body; the first value of each name."""
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[0] for name, values in fields.items()}


class Parts(Mapping[str, Any]):
    """The parts that branches returned for this call, by branch name.

    ``missing`` maps the name of each branch that returned none to why: an outcome such as ``"error"``,
    ``"hard_timeout"``, ``"rejected"``, ``"skipped(when)"``, ``"not_live"``.
    """

    __slots__ = ("_parts", "missing")

    def __init__(self, parts: Mapping[str, Any] = NOTHING, missing: Mapping[str, str] = NOTHING) -> None:
        self._parts = parts
        self.missing: Mapping[str, str] = missing

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"Parts({list(self._parts)}, missing={dict(self.missing)})"


NO_PARTS: Final = Parts()


class Wait:
    """What an aggregator returns to be asked again as soon as one part more is there: ``rollout.WAIT``."""

    def __repr__(self) -> str:
        return "rollout.WAIT"


WAIT: Final = Wait()


class Circumstances:
    """Everything of a call that is not the request: shared by calls that have nothing special, made anew for the
    others.
    """

    __slots__ = ("body", "clock", "deadline", "is_shadow", "key", "parts", "state", "value")

    def __init__(
        self,
        body: bytes = b"",
        key: str | None = None,
        state: Mapping[str, Any] = NOTHING,
        parts: Parts = NO_PARTS,
        is_shadow: bool = False,
        deadline: float | None = None,
        clock: Callable[[], float] | None = None,
        value: Any = None,
    ) -> None:
        self.value = value
        self.body = body
        self.key = key
        self.state = state
        self.parts = parts
        self.is_shadow = is_shadow
        self.deadline = deadline
        self.clock = clock


_PLAIN: Final = Circumstances()
_NO_REQUEST: Final = CallData(method="", path="", route="")


class Call:
    """One call of the wrapped handler, as the branches see it. Read only.

    Two slots, because one is made for every call of an active rollout and most are only asked for their key.
    """

    __slots__ = ("_about", "_source")

    def __init__(self, source: CallSource, about: Circumstances = _PLAIN) -> None:
        self._source = source
        self._about = about

    @staticmethod
    def of(
        source: CallSource,
        *,
        body: bytes = b"",
        key: str | None = None,
        state: Mapping[str, Any] = NOTHING,
        parts: Parts = NO_PARTS,
        is_shadow: bool = False,
        deadline: float | None = None,
        clock: Callable[[], float] | None = None,
        value: Any = None,
    ) -> Call:
        """A call with everything said. ``deadline`` is absolute, in seconds of ``clock``."""
        return Call(source, Circumstances(body, key, state, parts, is_shadow, deadline, clock, value))

    @staticmethod
    def of_value(value: Any, *, key: str | None = None, state: Mapping[str, Any] = NOTHING) -> Call:
        """A plain Python call: ``value`` is what the branches are to work on."""
        return Call(_NO_REQUEST, Circumstances(b"", key, state, value=value))

    @property
    def source(self) -> CallSource:
        """Where the fields are read."""
        return self._source

    @property
    def body(self) -> bytes:
        """The request's body; empty where it has none."""
        return self._about.body

    @property
    def key(self) -> str | None:
        """The targeting key: who the call belongs to."""
        return self._about.key

    @property
    def state(self) -> Mapping[str, Any]:
        """What ``capture=`` returned."""
        return self._about.state

    @property
    def value(self) -> Any:
        """What a plain Python call was made with; None where a request is the originator."""
        return self._about.value

    @property
    def parts(self) -> Parts:
        """The parts of the branches that this one comes after."""
        return self._about.parts

    @property
    def is_shadow(self) -> bool:
        """Whether nothing of this run reaches a user."""
        return self._about.is_shadow

    @property
    def deadline(self) -> float | None:
        """Absolute, in seconds of the engine's monotonic clock; None: none."""
        return self._about.deadline

    @property
    def method(self) -> str:
        return self._source.method

    @property
    def path(self) -> str:
        return self._source.path

    @property
    def route(self) -> str:
        """The pattern that matched, such as ``/profile/{id}``: safe as a label, unlike ``path``."""
        return self._source.route

    @property
    def path_params(self) -> Mapping[str, str]:
        return self._source.path_params

    @property
    def query(self) -> Mapping[str, str]:
        return self._source.query

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive."""
        return self._source.headers

    @property
    def cookies(self) -> Mapping[str, str]:
        return self._source.cookies

    @property
    def resources(self) -> Mapping[Any, Any]:
        """The application's ``config_dict``: pools and sessions, shared with the application."""
        return self._source.resources

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the deadline, never below 0; None where the call has no deadline."""
        about = self._about
        if about.deadline is None or about.clock is None:
            return None
        return max(0.0, about.deadline - about.clock())

    def json(self) -> Any:
        """The body parsed as JSON, anew at each call. Raises ``ValueError`` if it is not JSON."""
        return json.loads(self.body)

    def text(self) -> str:
        """The body decoded as UTF-8; undecodable bytes become U+FFFD."""
        return self.body.decode("utf-8", "replace")

    async def form(self) -> Mapping[str, Any]:
        """The fields of a form body, files included (adapter's type), parsed anew at each call."""
        return await self._source.form(self.body)

    def with_(
        self,
        *,
        parts: Parts | None = None,
        is_shadow: bool | None = None,
        deadline: float | None = None,
        clock: Callable[[], float] | None = None,
        source: CallSource | None = None,
    ) -> Call:
        """The same call with other parts, mode, deadline or source. ``clock``: of the deadline."""
        about = self._about
        return Call(
            self._source if source is None else source,
            Circumstances(
                about.body,
                about.key,
                about.state,
                about.parts if parts is None else parts,
                about.is_shadow if is_shadow is None else is_shadow,
                about.deadline if deadline is None else deadline,
                about.clock if clock is None else clock,
                about.value,
            ),
        )

    def __repr__(self) -> str:
        return f"Call({self.method} {self.route}{', shadow' if self.is_shadow else ''})"
