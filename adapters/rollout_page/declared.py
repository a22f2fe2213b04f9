"""What a user declares of the page, and every mistake in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.errors import Problem

SHORTEST: Final = 16  # characters of a token
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class Page:
    """Where the page is, and who may do what.

    * ``path``: below which it is served. Default ``"/rollout"``.
    * ``view``, ``operate``: the tokens with which people sign in to look, or to look and act; at least 16 characters,
      not the same. Default ``""``: nobody has that role. Without either, whoever comes from this machine may look.
    * ``external_path``: the path that browsers know it by, where a proxy in front changes paths. Default ``""``: the
      one below which the application serves it.
    * ``viewers``: how many may follow it at once, in each process; 1 to 10 000. Default 100.

    Behind a proxy on the same machine everybody comes from this machine: declare a token.
    """

    path: str = "/rollout"
    view: str = field(default="", repr=False)
    operate: str = field(default="", repr=False)
    viewers: int = 100
    external_path: str = ""

    @property
    def closed(self) -> bool:
        """Whether people must sign in."""
        return bool(self.view or self.operate)


def as_page(page: Any) -> Any:
    """A path alone declares a page too."""
    return Page(page) if isinstance(page, str) else page


def page_problems(page: Any) -> Iterator[Problem]:
    """Every mistake; no token is told."""
    if not isinstance(page, Page):
        yield Problem("page", f"{page!r} is no page", 'write page="/rollout", or page=rollout_page.Page("/rollout", …)')
        return
    for name in ("path", "external_path"):
        path = getattr(page, name)
        left_out = name == "external_path" and path == ""
        if not left_out and (not isinstance(path, str) or _PATH.fullmatch(path) is None):
            yield Problem("page", f"{name} is {path!r}", 'write for example "/rollout": no slash at the end, no braces')
    for role in ("view", "operate"):
        token = getattr(page, role)
        if not isinstance(token, str) or (token and not (token.isascii() and token.isprintable() and " " not in token)):
            yield Problem("page", f"the token {role} is no printable ASCII text", "make one: openssl rand -hex 24")
        elif token and len(token) < SHORTEST:
            what = f"the token {role} has {len(token)} characters"
            yield Problem("page", what, f"it must have at least {SHORTEST}: openssl rand -hex 24")
    if page.closed and page.view == page.operate:
        yield Problem("page", "view and operate are the same token", "make two, or leave view out")
    if not isinstance(page.viewers, int) or isinstance(page.viewers, bool) or not 1 <= page.viewers <= 10_000:
        yield Problem("page", f"viewers is {page.viewers!r}", "it must be 1 to 10000")
