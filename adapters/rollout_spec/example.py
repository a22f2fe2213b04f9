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
from rollout.domain.state import Policy, PriceText

from .values import NONE, dollars_text, read_duration, read_excess

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
#   harm: the most of all calls that a step may leave worse off; more of it needs fewer calls and less time
#   deadline: "none", or the most time at one stage before a person decides
#   auto: whether the controller promotes by itself; a rollback is always by itself"""

_SHADOW: Final = """\
# How many calls run in shadow; in how many of those control runs twice, to learn how it differs from itself; and,
# where the branches replace control, in how many live calls it runs in shadow.
#   usd_per_day: "none", or the dollars that each branch may spend in shadow in a day (UTC)"""

_STORE: Final = "# How many matched trials are stored (every other outcome always is), and for how long."

_BUDGET: Final = """\
# What one whole call may take, shared by its branches, their retries and hedges.
#   latency: until the deadline      tokens: "none", or of all models together      usd: "none", or dollars"""

_PRICES: Final = """\
# What models cost, in dollars for a million tokens. They lie over the prices of the code, model by model.
#   cached_input: of input that is read from a cache of prompts, where that is cheaper"""

_PRICE: Final = ("0.15", "0.60", "0.075")

_GATES: Final = """\
# The checks of every step, against control at the same moment. They replace the gates of the code as a whole.
#   errors      worse_by in points, at_most       latency   q, worse_by relative, at_most, as "800ms"
#   mismatches  at_most, beyond_noise             cost      usd_per_call, worse_by relative
#   sla         at_most                           fallbacks at_most
# Each judges by its mode: "sequential", the default, by evidence that adds up, with a bound on how often a healthy
# branch is rolled back; "threshold" by a limit over a window, without such a bound. Only a threshold gate takes window,
# minimum (calls), fewest (bad outcomes that make a breach) and consecutive (looks in a row)."""

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
    parts = [
        [_RAMP, f"[{key}.ramp]", *_ramp(policy.ramp)],
        [_SHADOW, f"[{key}.shadow]", *_shadow(policy)],
        [_STORE, f"[{key}.store]", f"sample = {_share(policy.store_sample)}", f"ttl = {_duration(policy.ttl_s)}"],
        [_BUDGET, f"[{key}.budget]", *_budget(policy)],
        [_PRICES, *_prices(key, policy)],
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
    yield f"harm = {_share(ramp.harm)}"
    yield f"deadline = {_duration(ramp.deadline_s)}" if ramp.deadline_s is not None else '# deadline = "7d"'
    yield f"auto = {str(ramp.auto).lower()}"


def _shadow(policy: Policy) -> Iterator[str]:
    for word, share in (("sample", policy.sample), ("noise", policy.noise), ("reverse", policy.reverse)):
        yield f"{word} = {_share(share)}"
    yield _maybe("usd_per_day", _dollars(policy.nano_per_day), '"5"', _is_set(policy, "shadow.usd_per_day"))


def _budget(policy: Policy) -> Iterator[str]:
    yield f"latency = {_duration(policy.latency_s)}"
    tokens = None if policy.tokens is None else str(policy.tokens)
    yield _maybe("tokens", tokens, "4000", _is_set(policy, "budget.tokens"))
    yield _maybe("usd", _dollars(policy.nano), '"0.05"', _is_set(policy, "budget.usd"))


def _prices(key: str, policy: Policy) -> Iterator[str]:
    if _is_set(policy, "prices"):
        yield f"[{key}.prices]"
    else:
        yield from (f"# {line}" for line in _price(f"{key}.prices.small", _PRICE))
    for model, price in policy.prices.items():
        yield from ("", *_price(f"{key}.prices.{_key(model)}", price))


def _price(header: str, price: PriceText) -> Iterator[str]:
    yield f"[{header}]"
    for name, usd in zip(("input", "output", "cached_input"), price, strict=True):
        if usd is not None:
            yield f'{name} = "{usd}"'


def _maybe(name: str, value: str | None, sample: str, is_set: bool) -> str:
    """A limit; where there is none, as a comment: naming it would keep a later limit of the code from being one."""
    if value is not None:
        return f"{name} = {value}"
    return f'{name} = "{NONE}"' if is_set else f"# {name} = {sample}"


def _is_set(policy: Policy, field: str) -> bool:
    """Whether a field is a spec file's by now."""
    return policy.origins.get(field, "").startswith("spec ")


def _dollars(nano: int | None) -> str | None:
    return None if nano is None else f'"{dollars_text(usd_of(nano))}"'


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
    if gate.beyond_noise:
        yield "beyond_noise = true"
    yield f'mode = "{gate.mode}"'
    if not gate.sequential:
        yield from _window(gate)


def _window(gate: GateSpec) -> Iterator[str]:
    yield f"window = {_duration(gate.window_s)}"
    yield f"minimum = {gate.minimum}"
    if gate.kind != "cost":
        yield f"fewest = {gate.fewest}"
    yield f"consecutive = {gate.consecutive}"


def _limit(kind: str, at_most: float) -> str:
    if kind == "cost":
        return f"usd_per_call = {_dollars(int(at_most))}"
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
