"""What several checks of a declaration share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol, TypeGuard

from rollout.domain.cost import nano_usd
from rollout.domain.paths import Path, PathError
from rollout.errors import Problem

NAME_REMEDY: Final = "use a letter, then letters, digits, _ . - (at most 63)"
_NAME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")


class HasBranches(Protocol):
    """A rollout, or a fan-out on its own."""

    @property
    def branches(self) -> Sequence[Any]: ...
    @property
    def join(self) -> str: ...
    @property
    def aggregate(self) -> Any: ...
    @property
    def budget(self) -> Any: ...
    @property
    def dispatch(self) -> Any: ...
    @property
    def quorum(self) -> int | None: ...
    @property
    def prices(self) -> Any: ...


def of_flag(where: str, flag: Any) -> Iterator[Problem]:
    if flag is not None and not (isinstance(flag, str) and flag):
        yield Problem(where, f"flag is {flag!r}", "give the flag's key as a text, or leave it out")


def of_hook(where: str, name: str, hook: Any) -> Iterator[Problem]:
    if hook is not None and not callable(hook):
        yield Problem(where, f"{name} is {hook!r}, not callable", f"pass a function, or leave {name} out")


def of_tracing(where: str, tracing: Any) -> Iterator[Problem]:
    makes_spans = all(callable(getattr(tracing, name, None)) for name in ("begin", "around", "apart"))
    if tracing is not None and (isinstance(tracing, type) or not makes_spans):
        remedy = "give rollout_otel.OpenTelemetry(), or OpenTelemetry(provider) for a provider of your own"
        yield Problem(where, f"tracing is {tracing!r}, which makes no spans", remedy)


def path_or_problem(text: Any, where: str, remedy: str) -> tuple[Path | None, Problem | None]:
    if not isinstance(text, str):
        return None, Problem(where, f"{text!r} is not a path", remedy)
    try:
        return Path.parse(text), None
    except PathError as error:
        return None, Problem(where, str(error), remedy)


def is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _NAME.match(value) is not None


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def nano_or_none(usd: Any) -> int | None:
    """Nano-dollars; None for none, and for what is no amount."""
    try:
        return None if usd is None or isinstance(usd, bool) else nano_usd(usd)
    except (ValueError, TypeError):
        return None


def is_time(value: Any) -> TypeGuard[float]:
    """Seconds above 0, finite."""
    return is_number(value) and 0 < value < float("inf")
