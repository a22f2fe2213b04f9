"""The gates a user names: ``gates.errors()``, ``gates.latency(q=0.95, worse_by=0.10)`` …

Each returns a frozen ``GateSpec``, a plain value that the policy stores, so that a controller in a process of its own
judges without the user's code.

``mode="sequential"``, the default: a test that may be looked at as often as one likes. If the branch is no worse than
control, all gates of a rollout together roll any of its branches back with probability at most 1 %; and a step is taken
only when the evidence of the present stage shows that the branch is worse by less than the ramp's harm budget allows.

``mode="threshold"``: a limit over a trailing window. It states no error bound. Above its limit by no more than chance
explains, it holds. Only such gates use:

* ``window``: how far back it looks, a duration. Default ``"1m"``. A quiet rollout looks back further, until
  ``minimum`` calls.
* ``minimum``: the fewest calls that it judges; with fewer it has no opinion (hold), unless 20 or more are bad beyond
  doubt. Default 50.
* ``fewest``: the fewest bad outcomes that make a breach, so that one unlucky call is none. Default 3.
* ``consecutive``: how many looks in a row must breach. Default 1.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from rollout.domain.cost import nano_usd
from rollout.domain.gates import GateSpec

__all__ = ["GateSpec", "cost", "errors", "fallbacks", "latency", "mismatches", "sla"]


def errors(
    *,
    worse_by: float | None = None,
    at_most: float | None = None,
    mode: str = "sequential",
    window: str | float = "1m",
    minimum: int = 50,
    fewest: int = 3,
    consecutive: int = 1,
) -> GateSpec:
    """The candidate fails more often than control at the same moment.

    ``worse_by``: the rate may lie above control's by this much (a share of calls); ``at_most``: it may not lie above
    this share, whatever control does. With neither, ``worse_by`` is 0 (threshold gates: 0.01, one point). A failure
    that fell back counts.
    """
    if worse_by is None and at_most is None:
        worse_by = 0.01 if mode == "threshold" else 0.0
    return GateSpec.of("errors", mode, window, minimum, fewest, consecutive, worse_by=worse_by, at_most=at_most)


def latency(
    *,
    q: float = 0.95,
    worse_by: float | None = 0.10,
    at_most_s: float | None = None,
    mode: str = "sequential",
    window: str | float = "1m",
    minimum: int = 50,
    fewest: int = 3,
    consecutive: int = 1,
) -> GateSpec:
    """A quantile of the candidate's latency against control's at the same moment.

    ``q``: the quantile, in (0, 1), default 0.95; ``worse_by``: the relative tolerance, default 0.10 (10 %);
    ``at_most_s``: an absolute limit in seconds, default none. A failed call exceeds every latency.
    """
    return GateSpec.of("latency", mode, window, minimum, fewest, consecutive, q=q, worse_by=worse_by, at_most=at_most_s)


def mismatches(
    *,
    at_most: float = 0.001,
    beyond_noise: bool = False,
    mode: str = "sequential",
    window: str | float = "1m",
    minimum: int = 50,
    fewest: int = 3,
    consecutive: int = 1,
) -> GateSpec:
    """Calls whose compared replies differ, as a share of those in which both sides answered; default at most 0.001.

    ``at_most``: of all calls, as the rollout goes live: at share x up to at_most / x of the compared ones may differ,
    at most 5 %. ``beyond_noise``: by so much more than control differs from itself, which needs a sample of noise runs
    (``Shadow(noise=…)``) and many more calls. Default False.
    """
    spec = GateSpec.of("mismatches", mode, window, minimum, fewest, consecutive, at_most=at_most)
    return replace(spec, beyond_noise=True) if beyond_noise else spec


def cost(
    *,
    usd_per_call: str | Decimal | None = None,
    worse_by: float | None = None,
    mode: str = "sequential",
    window: str | float = "1m",
    minimum: int = 50,
    consecutive: int = 1,
) -> GateSpec:
    """The mean cost of the branch per call: at most ``usd_per_call`` dollars, and/or at most ``worse_by`` (relative)
    above control's.

    A sequential gate tests the mean of clipped costs: at 20 times ``usd_per_call``, or at the 99.5th percentile of what
    control cost before. An unknown cost is unknown, not zero: the gate then holds and says so.
    """
    limit, fault = None, ""
    try:
        limit = None if usd_per_call is None else nano_usd(usd_per_call)
    except ValueError as error:
        limit, fault = 0, str(error)  # kept, and reported with everything else at start
    spec = GateSpec.of("cost", mode, window, minimum, 1, consecutive, worse_by=worse_by, at_most=limit)
    return replace(spec, fault=fault) if fault else spec


def sla(
    *,
    at_most: float = 0.05,
    mode: str = "sequential",
    window: str | float = "1m",
    minimum: int = 50,
    fewest: int = 3,
    consecutive: int = 1,
) -> GateSpec:
    """Runs of the branch that took longer than its ``sla_s``, as a share of its runs; default at most 0.05."""
    return GateSpec.of("sla", mode, window, minimum, fewest, consecutive, at_most=at_most)


def fallbacks(
    *,
    at_most: float = 0.01,
    mode: str = "sequential",
    window: str | float = "1m",
    minimum: int = 50,
    fewest: int = 3,
    consecutive: int = 1,
) -> GateSpec:
    """Calls that were answered by control because the branch failed, as a share of its calls; default at most 0.01."""
    return GateSpec.of("fallbacks", mode, window, minimum, fewest, consecutive, at_most=at_most)
