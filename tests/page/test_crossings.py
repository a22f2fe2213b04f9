"""Whether a request can come from nowhere but this machine."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rollout_page.crossings import is_local


def request(peername: Any, host: str) -> web.Request:
    transport = Mock()
    transport.get_extra_info = lambda name: peername if name == "peername" else None
    return make_mocked_request("GET", "/rollout", headers={"Host": host}, transport=transport)


@pytest.mark.parametrize(
    ("peername", "host"),
    [
        (("127.0.0.1", 5000), "127.0.0.1:8321"),
        (("127.8.9.1", 5000), "localhost:8321"),
        (("::1", 5000, 0, 0), "[::1]:8321"),
        (("::ffff:127.0.0.1", 5000, 0, 0), "LocalHost"),
    ],
)
def test_this_machine_is(peername: Any, host: str) -> None:
    assert is_local(request(peername, host))


@pytest.mark.parametrize(
    ("peername", "host"),
    [
        (("10.0.0.7", 5000), "127.0.0.1:8321"),
        (("::ffff:10.0.0.7", 5000, 0, 0), "localhost"),
        (("fe80::1%eth0", 5000, 0, 3), "localhost"),
        (("127.0.0.1", 5000), "localhost.evil.example"),
        (("127.0.0.1", 5000), "127.0.0.1.evil.example:80"),
        (("127.0.0.1", 5000), ""),
        (("127.0.0.1", 5000), "[::1"),
        ("", "localhost"),  # a Unix socket: whoever may open it, a proxy perhaps
        (None, "localhost"),
    ],
)
def test_nothing_else_is(peername: Any, host: str) -> None:
    assert not is_local(request(peername, host))


def test_what_a_proxy_is_believed_to_have_passed_on_is_not() -> None:
    passed_on = request(("127.0.0.1", 5000), "localhost").clone(remote="10.0.0.7")
    assert not is_local(passed_on)
