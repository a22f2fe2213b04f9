"""The commented ``rollout.toml`` that ``rollout init`` writes: of what is registered, or of an example."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from rollout import gates
from rollout.domain.cost import usd_of
from rollout.domain.durations import duration_text, percent
from rollout.domain.gates import GateSpec
from rollout.domain.ramp import Ramp
from rollout.domain.state import Policy

from .values import read_duration, read_excess

_HEAD: Final = """\
# What the controller may do, and when. Everything here stays on top of what the code declares, until
# `rollout apply --reset`. Delete what should stay as the code has it.
#
#   rollout config check     reads this file and reports every mistake with its line
#   rollout apply            puts it in force, as a new version; `rollout config show` tells the origin of each field
#   rollout config schema    prints its JSON Schema, for editors
"""

_RAMP: Final = """\
# The stages of every branch, shares of calls.
#   soak: the least time at each stage       bake: the time at the last one, before a branch is completed
#   approve: stages that only a person may let a branch enter, as "25% 100%"
#   freeze: windows (UTC) without promotion, as ["Fri 16:00 - Mon 08:00", "2026-12-20 - 2027-01-02"]
#   auto: whether the controller promotes by itself; a rollback is always by itself"""

_SHADOW: Final = """\
# How many calls run in shadow; in how many of those control runs twice, to learn how it differs from itself; and,
# where the branches replace control, in how many live calls it runs in shadow."""

_STORE: Final = "# How many matched trials are stored (every other outcome always is), and for how long."

_BUDGET: Final = "# The deadline of one whole call."

_GATES: Final = """\
# The checks of every step, against control at the same moment. They replace the gates of the code as a whole.
# Each takes window, minimum (calls), fewest (bad outcomes that make a breach) and consecutive (looks in a row).
#   errors      worse_by in points, at_most       latency   q, worse_by relative, at_most, as "800ms"
#   mismatches  at_most                           cost      usd_per_call, worse_by relative
#   sla         at_most                           fallbacks at_most"""

_SAMPLE: Final = Policy(
    rollout="profile",
    ramp=Ramp(),
    gates=(gates.errors(), gates.latency(), gates.mismatches(), gates.fallbacks()),
    latency_s=1.5,
)


def example(policies: Mapping[str, Policy] | None = None) -> str:
    """A spec file that sets every field to what is in force now, so that applying it changes nothing but the origins.

    ``policies``: rollout → its effective policy; none or None: of a rollout called ``profile``.
    """
    tables = [_rollout(name, policy) for name, policy in (policies or {"profile": _SAMPLE}).items()]
    return "\n".join([_HEAD, *tables])


def _rollout(name: str, policy: Policy) -> str:
    key = f"rollouts.{_key(name)}"
    shadow = {"sample": policy.sample, "noise": policy.noise, "reverse": policy.reverse}
    parts = [
        [_RAMP, f"[{key}.ramp]", *_ramp(policy.ramp)],
        [_SHADOW, f"[{key}.shadow]", *(f"{word} = {_share(share)}" for word, share in shadow.items())],
        [_STORE, f"[{key}.store]", f"sample = {_share(policy.store_sample)}", f"ttl = {_duration(policy.ttl_s)}"],
        [_BUDGET, f"[{key}.budget]", f"latency = {_duration(policy.latency_s)}"],
        [_GATES],
        *([f"[[{key}.gates]]", *_gate(gate)] for gate in policy.gates),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _ramp(ramp: Ramp) -> Iterator[str]:
    yield f"stages = {_shares(ramp.stages)}"
    yield f"soak = {_duration(ramp.soak_s)}"
    yield f"bake = {_duration(ramp.bake_s)}" if ramp.bake_s is not None else f"# bake = {_duration(ramp.soak_s)}"
    yield f"approve = {_shares(ramp.approve)}" if ramp.approve else '# approve = "100%"'
    windows = ", ".join(map(_text, ramp.freeze))
    yield f"freeze = [{windows}]" if windows else '# freeze = ["Fri 16:00 - Mon 08:00"]'
    yield f"auto = {str(ramp.auto).lower()}"


def _gate(gate: GateSpec) -> Iterator[str]:
    yield f'kind = "{gate.kind}"'
    if gate.q is not None:
        yield f"q = {gate.q!r}"
    if gate.worse_by is not None:
        yield f"worse_by = {_share(gate.worse_by)}"
    elif gate.kind in ("errors", "latency"):
        yield 'worse_by = "none"'
    if gate.at_most is not None:
        yield _limit(gate.kind, gate.at_most)
    if gate.mode != "threshold":
        yield f'mode = "{gate.mode}"'
    yield f"window = {_duration(gate.window_s)}"
    yield f"minimum = {gate.minimum}"
    if gate.kind != "cost":
        yield f"fewest = {gate.fewest}"
    yield f"consecutive = {gate.consecutive}"


def _limit(kind: str, at_most: float) -> str:
    if kind == "cost":
        return f'usd_per_call = "{usd_of(int(at_most)):f}"'
    return f"at_most = {_duration(at_most) if kind == 'latency' else _share(at_most)}"


def _duration(value: float) -> str:
    return _exact(duration_text(value), value, read_duration)


def _share(value: float) -> str:
    return _exact(percent(value), value, read_excess)


def _shares(shares: Sequence[float]) -> str:
    words = ["shadow" if share == 0 else _share(share).strip('"') for share in shares]
    if all(word == "shadow" or word.endswith("%") for word in words):
        return f'"{" ".join(words)}"'
    return f"[{', '.join(repr(float(share)) for share in shares)}]"


def _exact(text: str, value: float, read: Callable[[object], float]) -> str:
    """The text, if it is read as that very value again; else the bare number."""
    try:
        return f'"{text}"' if read(text) == value else repr(float(value))
    except ValueError:
        return repr(float(value))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(text: str) -> str:
    """A basic string of TOML: JSON's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
