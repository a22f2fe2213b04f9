"""Where a request comes from: this machine, this page, or somewhere else."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

_PASSED_ON: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
_LOCAL_NAMES: Final = ("localhost",)


def is_local(request: web.Request) -> bool:
    """Whether nothing but this machine can have sent it: the socket and the name of the host are of the loopback, and
    no proxy passed it on. The name is looked at since a page of a stranger may have had its own name point here.
    """
    if any(name in request.headers for name in _PASSED_ON):
        return False
    peername = request.transport.get_extra_info("peername") if request.transport is not None else None
    peers = [str(peername[0]) if isinstance(peername, tuple) and peername else "", request.remote or ""]
    return _all_loopback(peers) and _is_loopback_name(_host_name(request.host))


def is_from_this_page(request: web.Request) -> bool:
    """Whether a form of this page sent it: by ``Sec-Fetch-Site``; where the browser sends none, by its ``Origin``."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get(hdrs.ORIGIN, ""))
    # Not the scheme: a proxy in front may have ended the TLS.
    return origin.scheme in ("http", "https") and origin.netloc.lower() == request.host.lower()


def _all_loopback(addresses: Iterable[str]) -> bool:
    try:
        return all(_is_loopback(ip_address(address)) for address in addresses)
    except ValueError:
        return False


def _is_loopback(address: IPv4Address | IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None  # of a socket that takes both
    return (mapped or address).is_loopback


def _is_loopback_name(name: str) -> bool:
    return name in _LOCAL_NAMES or _all_loopback([name])


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
