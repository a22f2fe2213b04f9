"""Where a `Call` reads its fields: the request while control has not run, and from then on the snapshot of it.

Most calls are never looked at, so nothing is computed before somebody asks. Whoever lets a call live on (in shadow,
or beside control) says `keep()` before control runs: from then on the request is not held any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from rollout_aiohttp.forms import cookies_of, form_of
from rollout_aiohttp.marks import unmarked
from rollout_aiohttp.snapshot import RequestSnapshot, resources_of, route_of


class RequestSource:
    """A ``rollout.domain.call.CallSource`` over a request.

    ``headers``: a read-only, case-insensitive multidict. Once kept, without our marks: hooks that decide about a call
    may see a mark that a caller wrote, branches never do.
    """

    # Without slots, so that what most calls never set can be a default of the class: one is made for every call.
    _snapshot: RequestSnapshot | None = None
    _held_params: dict[str, str] | None = None
    _path_params: Mapping[str, str] | None = None
    _cookies: Mapping[str, str] | None = None

    def __init__(self, request: web.Request) -> None:
        self._request: web.Request | None = request
        self.headers: CIMultiDictProxy[str] = request.headers

    def keep(self) -> RequestSnapshot:
        """Take the snapshot and let go of the request; to be called before control runs.

        Later calls give the same snapshot.
        """
        if self._snapshot is None:
            assert self._request is not None
            self.headers = unmarked(self.headers)
            self._snapshot = RequestSnapshot(self._request, self.headers)
            self._request = None
        return self._snapshot

    def hold(self) -> None:
        """Copy only what control could change of what a ``Call`` shows: ``path_params``. To be called before control
        runs, where no sealed request will be made; it costs a fifth of ``keep()``.
        """
        self.headers = unmarked(self.headers)
        if self._path_params is None and self._request is not None:
            self._held_params = dict(self._request.match_info)

    @property
    def snapshot(self) -> RequestSnapshot:
        """The request as it was at ``keep()``, which is called now where nobody did."""
        return self._snapshot or self.keep()

    @property
    def method(self) -> str:
        request = self._request
        return self.snapshot.method if request is None else request.method

    @property
    def path(self) -> str:
        return self._url.path

    @property
    def route(self) -> str:
        """The canonical pattern of the resource, prefix of a sub-application included."""
        request = self._request
        if request is None:
            return route_of(self.snapshot.route)
        resource = request.match_info.route.resource
        return "" if resource is None else resource.canonical

    @property
    def path_params(self) -> Mapping[str, str]:
        """A copy of ``match_info``, made at the first look or at ``keep()``, whichever is first."""
        params = self._path_params
        if params is None:
            if self._held_params is not None:
                params = MappingProxyType(self._held_params)
            elif self._request is None:
                params = self.snapshot.path_params
            else:
                params = MappingProxyType(dict(self._request.match_info))
            self._path_params = params
        return params

    @property
    def query(self) -> Mapping[str, str]:
        """A read-only multidict: ``query.getall("tag")`` gives every value."""
        return self._url.query

    @property
    def cookies(self) -> Mapping[str, str]:
        cookies = self._cookies
        if cookies is None:
            request = self._request
            cookies = self._cookies = cookies_of(self.snapshot) if request is None else request.cookies
        return cookies

    @property
    def resources(self) -> Mapping[Any, Any]:
        request = self._request
        return self.snapshot.resources if request is None else resources_of(request.match_info.apps)

    async def form(self, body: bytes) -> Mapping[str, Any]:
        """The fields of an urlencoded or multipart body: a read-only multidict of ``str``, ``bytes`` and ``Upload``.

        Parsed anew at each call. Empty where aiohttp's ``request.post()`` would be: another content type, or a method
        without a body. Raises ``ValueError`` where the body is not what its content type says.
        """
        return await form_of(self.snapshot, body)

    @property
    def _url(self) -> URL:
        request = self._request
        return self.snapshot.rel_url if request is None else request.rel_url
