"""Names that are registered in the database: arguments that a shell completes from there.

Whoever looks them up is the object of the command line's context: of a database's address it makes what is registered
there, or None where that cannot be told in time.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import click
from click.shell_completion import CompletionItem

from rollout.domain.durations import percent
from rollout.domain.state import Policy, Snapshot
from rollout.usecases.flags import flags_of

Given: TypeAlias = Mapping[str, Any]  # the parameters that stand on the line already, by name
LookUp: TypeAlias = Callable[[str], Snapshot | None]


class Registered(click.ParamType[str]):
    """Any text. Offered is what is ``among`` the registered names, given the rest of the line."""

    def __init__(self, name: str, among: Callable[[Snapshot, Given], Iterable[str]]) -> None:
        self.name = name
        self._among = among

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        look_up: LookUp | None = ctx.obj
        found = look_up(ctx.params["url"]) if look_up else None
        if found is None:
            return []
        # What a shell would not take as it is must not get to its line: a name may be `$(...)`, or move the cursor.
        names = [name for name in self._among(found, ctx.params) if shlex.quote(name) == name]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _policies(found: Snapshot, given: Given) -> list[Policy]:
    """That of the rollout on the line, else all."""
    name = given.get("name")
    return [policy for policy in found.policies.values() if name in (None, policy.rollout)]


def _branches(found: Snapshot, given: Given) -> list[str]:
    """Branches, and the groups of them that move together."""
    branches = [branch for policy in _policies(found, given) for branch in policy.branches]
    return sorted({name for branch in branches for name in (branch.name, branch.unit)})


def _shares(found: Snapshot, given: Given) -> list[str]:
    shares = {share for policy in _policies(found, given) for share in policy.ramp.stages if share}
    return [percent(share) for share in sorted(shares)]


ROLLOUT = Registered("rollout", lambda found, given: sorted(found.policies))
BRANCH = Registered("branch", _branches)
FLAG = Registered("flag", lambda found, given: flags_of(found))
SHARE = Registered("share", _shares)
