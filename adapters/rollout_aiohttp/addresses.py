"""Which addresses are allowed, by what they mean and not by how they are written.

A prefix as text would let through `https://api.example.evil.org/`, `https://api.example/v1/../admin` and the like. So
scheme, host and port must be equal as parsed, and the path must lie below the allowed one segment by segment. A path
that servers read in different ways (dots, encoded slashes, backslashes, path parameters on dots) lies below none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from yarl import URL

from rollout.errors import DeclarationError, Problem


class Allowed:
    """A set of address prefixes. Raises ``DeclarationError`` naming every one that is not usable."""

    def __init__(self, addresses: Sequence[str]) -> None:
        if isinstance(addresses, str):
            addresses = [addresses]
        problems = [problem for address in addresses for problem in _problems(address)]
        if problems:
            raise DeclarationError(problems)
        self._prefixes = [(_origin(url), _segments(url)) for url in map(URL, addresses)]

    def covers(self, url: URL, host_header: str | None = None) -> bool:
        """Whether the address lies at or below an allowed one. ``host_header``: what is sent as Host, if anything;
        one that names another host than the address is let through nowhere, since a shared server would answer for
        that one."""
        segments = _segments(url)
        if segments is None or not _names_its_host(url, host_header):
            return False
        origin = _origin(url)
        return any(
            origin == allowed and prefix is not None and segments[: len(prefix)] == prefix
            for allowed, prefix in self._prefixes
        )


def address_of(url: URL) -> str:
    """An address for people: without user, password, query and fragment."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _origin(url: URL) -> tuple[str, str, int | None]:
    return (url.scheme, (url.raw_host or "").lower(), url.port)


def _segments(url: URL) -> list[str] | None:
    """The decoded path by segments, without empty ones at its end; None where it is not clear which path is meant."""
    raw = url.raw_path
    decoded = raw
    while (further := unquote(decoded)) != decoded:  # each turn shortens it
        decoded = further
    lowered = raw.lower()
    if "\\" in decoded or "\0" in decoded or "%2f" in lowered or "%25" in lowered:
        return None
    segments = decoded.split("/")[1:]
    if any(segment.partition(";")[0] in (".", "..") for segment in segments):
        return None
    while segments and not segments[-1]:
        segments.pop()
    return segments


def _names_its_host(url: URL, header: str | None) -> bool:
    if header is None:
        return True
    host = (url.host_subcomponent or "").lower()
    return header.lower() in (host, f"{host}:{url.port}")


def _problems(address: str) -> Iterator[Problem]:
    example = 'write for example "https://api.model.example/v1/"'
    try:
        url = URL(address)
        where = f'guard(allow=…), "{address_of(url) if url.absolute else url}"'
    except (TypeError, ValueError) as error:
        yield Problem("guard(allow=…)", f"holds something that is no address ({error})", example)
        return
    if url.scheme not in ("http", "https") or not url.raw_host:
        yield Problem(where, "is no absolute http address", example)
    if url.user is not None or url.password is not None:
        yield Problem(where, "holds a user or password, which is not compared", "leave it out")
    if url.query_string or url.fragment:
        yield Problem(where, "has a query or fragment, which is not compared", "name the path only")
    if _segments(url) is None:
        yield Problem(where, "has a path that can be read in several ways", "write it without encoded slashes and dots")
