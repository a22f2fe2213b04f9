"""Where messages go: what every target has in common, and every mistake in a list of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from yarl import URL

from rollout.domain.state import Decision
from rollout.errors import Problem
from rollout.mistakes.checks import NAME_REMEDY, is_name


class Target(Protocol):
    """One receiver. ``name``: a label of the metrics. ``url``: a secret as a whole, since tokens may be in its path."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...

    def problems(self) -> Iterator[Problem]:
        """Every mistake, without its secrets."""
        ...

    def body(self, decision: Decision) -> bytes:
        """What is told of it: JSON in UTF-8, the same whenever it is told again."""
        ...

    def headers(self, decision: Decision, body: bytes, at: float) -> Mapping[str, str]:
        """What one attempt carries beside its body. ``at``: epoch seconds."""
        ...


def problems_of(targets: Any) -> list[Problem]:
    """Every mistake in what was given as ``notify=``."""
    if not isinstance(targets, Sequence) or isinstance(targets, str):
        remedy = "give a list, such as [Slack(url)]"
        return [Problem("notify", f"it is a {type(targets).__name__}, not a list of targets", remedy)]
    known = [target for target in targets if hasattr(target, "problems") and hasattr(target, "body")]
    found = [
        Problem("notify", f"it holds a {type(target).__name__}", "give Webhook(url, secret=…) or Slack(url)")
        for target in targets
        if target not in known
    ]
    for target in known:
        found += target.problems()
    names = [target.name for target in known]
    twice = sorted({name for name in names if isinstance(name, str) and names.count(name) > 1})
    remedy = 'give each a name of its own: Slack(url, name="oncall")'
    return [*found, *(Problem("notify", f'two targets are called "{name}"', remedy) for name in twice)]


def common_problems(name: Any, url: Any) -> Iterator[Problem]:
    """Mistakes in what every target has. An address is never shown: whoever knows it may post there."""
    where = f'notify "{name}"'
    if not is_name(name):
        yield Problem("notify", f"the name of a target is {name!r}", NAME_REMEDY)
    if problem := _problem_of(url):
        yield Problem(where, problem, "give an address that begins with https:// and has no user in it")


def _problem_of(url: Any) -> str:
    if not isinstance(url, str):
        return f"its address is {'missing' if url is None else f'a {type(url).__name__}'}"
    if url != "".join(url.split()) or not url.isprintable():
        return "its address has a blank or a control character in it"
    try:
        parsed = URL(url)
        port = parsed.port
    except ValueError:
        return "its address cannot be read"
    if parsed.scheme not in ("https", "http") or not parsed.host or not port:
        return "its address is none of the web"
    if parsed.user is not None or parsed.password is not None:
        return "its address has a user in it"
    return ""


def place_of(url: str) -> str:
    """The part of an address that may be shown: ``https://hooks.example``."""
    return str(URL(url).origin())
