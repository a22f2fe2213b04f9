"""What is the case, in a simulation: how often either side fails and differs, how long it takes, what it costs.

    truth = Truth(errors=0.01, worse_errors=0.02, outages=(Outage.parse("30%@10m for 5m"),))
    control, candidate = truth.rates(at=660.0)

Gates know nothing of it: they see calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, log1p
from statistics import NormalDist
from typing import Final

from rollout.domain.durations import duration_text, percent, seconds, share_of
from rollout.domain.simulation.draws import Spread

DAY_S: Final = 86_400.0
MILLI: Final = 1e-6  # milli-dollars of a nano-dollar: the unit of histograms of costs
COST_SIGMA: Final = 0.8  # of the logarithm of a call's cost
_RATE: Final = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<thousand>k?)\s*/\s*(?P<unit>[smhdw])")
_CHANGE: Final = re.compile(r"(?P<share>\d+(?:\.\d+)?)\s*%\s*(?P<way>[a-z]*)")


def per_second(text: str) -> float:
    """Calls a second of ``"100/s"``, ``"5/h"``, ``"2k/m"`` … ``ValueError`` with the remedy."""
    match = _RATE.fullmatch(text.strip().lower())
    if match is None or float(match["count"]) == 0:
        raise ValueError(f'"{text}" is no traffic; write calls and a time, as in "100/s", "30/m" or "5/h"')
    return float(match["count"]) * (1_000 if match["thousand"] else 1) / seconds(f"1{match['unit']}")


@dataclass(frozen=True, slots=True)
class Drift:
    """Control's error rate moves evenly from ``start`` to ``end`` (shares of calls) in ``span_s`` seconds, and stays
    there."""

    start: float
    end: float
    span_s: float = DAY_S

    @classmethod
    def parse(cls, text: str) -> Drift:
        """Of ``"0.5%..3%"`` (over a day) or ``"0.5%..3% over 2h"``. ``ValueError`` with the remedy."""
        rates, _, span = text.partition(" over ")
        start, dots, end = rates.partition("..")
        if not dots:
            raise ValueError(f'"{text}" is no drift; write "0.5%..3%" (over a day) or "0.5%..3% over 2h"')
        span_s = seconds(span) if span else DAY_S
        if span_s <= 0:
            raise ValueError(f'the drift "{text}" takes no time; write how long, as in "0.5%..3% over 2h"')
        return cls(share_of(start.strip()), share_of(end.strip()), span_s)

    def at(self, t: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, max(0.0, t / self.span_s))

    def __str__(self) -> str:
        return f"{percent(self.start)}..{percent(self.end)} over {duration_text(self.span_s)}"


@dataclass(frozen=True, slots=True)
class Outage:
    """A share of all calls fails on either side, whatever else is the case, for ``length_s`` seconds from ``start_s``
    on, both counted from the start of the simulation."""

    share: float
    start_s: float
    length_s: float

    @classmethod
    def parse(cls, text: str) -> Outage:
        """Of ``"30%@10m for 5m"``. ``ValueError`` with the remedy."""
        when, lasting, length = text.partition(" for ")
        share, at, start = when.partition("@")
        if not (lasting and at):
            raise ValueError(f'"{text}" is no outage; write "30%@10m for 5m": how many calls fail, from when, how long')
        length_s = seconds(length)
        if length_s <= 0:
            raise ValueError(f'the outage "{text}" takes no time; write how long, as in "30%@10m for 5m"')
        return cls(share_of(share.strip()), seconds(start), length_s)

    @property
    def end_s(self) -> float:
        return self.start_s + self.length_s

    def __str__(self) -> str:
        return f"{percent(self.share)} at {duration_text(self.start_s)} for {duration_text(self.length_s)}"


def excess_of(text: str, more: str, less: str) -> float:
    """A relative change of ``"20% slower"``, ``"20%"`` (``more``), ``"10% faster"`` (``less``) or ``"same"``: 0.2, 0.2,
    -0.1 and 0. ``ValueError`` with the remedy.
    """
    squeezed = " ".join(text.lower().split())
    if squeezed == "same":
        return 0.0
    match = _CHANGE.fullmatch(squeezed)
    if match is None or match["way"] not in ("", more, less):
        raise ValueError(f'"{text}" cannot be read; write "20% {more}", "10% {less}" or "same"')
    share = float(match["share"]) / 100
    if match["way"] != less:
        return share
    if share >= 1:
        raise ValueError(f'"{text}" leaves nothing; write less than 100%')
    return -share


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Both sides of a rollout as they are. Shares lie in [0, 1].

    * ``errors``: of control's calls that fail; ``worse_errors``: of the candidate's, None (the default): as many. With
      ``drift`` control's follow that, and the candidate's keep their distance to them.
    * ``latency_s``: control's median; ``sigma``: of the logarithm of its latency, a normal one. Defaults 0.1 and 0.6.
      ``slower``: the candidate takes so much longer, relative. Default 0. The two latencies of a pair differ by a
      factor whose logarithm has the standard deviation ``pair_sigma``. Default 0.2.
    * ``mismatches``: of the pairs in which both answered; ``noise``: of control compared with itself. Defaults 0.
    * ``sla_missed``: of the candidate's runs. Default 0.
    * ``control_nano``, ``nano``: the mean cost of a call of control, and of the unit, in nano-dollars; lognormal too.
      Default 0: it costs nothing.
    * ``outages`` hit both sides.
    * ``users``: how many there are. A fifth of them makes three fifths of the calls, and one in twenty meets ten times
      as many errors as all do on average (see ``crowd``). None, the default: every call is a user of its own.
    """

    errors: float = 0.001
    worse_errors: float | None = None
    drift: Drift | None = None
    outages: Sequence[Outage] = ()
    latency_s: float = 0.1
    sigma: float = 0.6
    slower: float = 0.0
    pair_sigma: float = 0.2
    mismatches: float = 0.0
    noise: float = 0.0
    sla_missed: float = 0.0
    control_nano: float = 0.0
    nano: float = 0.0
    users: int | None = None

    def problems(self) -> Iterator[str]:
        """Every mistake, with its remedy."""
        for name in ("errors", "worse_errors", "mismatches", "noise", "sla_missed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                yield f"{name} is {value}; it is a share of calls, between 0 and 1"
        for name in ("latency_s", "sigma", "pair_sigma"):
            if not 0 < getattr(self, name) < inf:
                yield f"{name} is {getattr(self, name)}; it must be above 0 and finite"
        if not -1 < self.slower < inf:
            yield f"slower is {self.slower}; it must be above -1 (which leaves no time at all) and finite"
        for name in ("control_nano", "nano"):
            if not 0 <= getattr(self, name) < inf:
                yield f"{name} is {getattr(self, name)}; a cost is 0 or more and finite"
        if self.users is not None and self.users < 1:
            yield f"users is {self.users}; there must be at least 1, or None where every call is a user of its own"

    @property
    def excess(self) -> float:
        """By how much the candidate's error rate lies above control's."""
        base = self.drift.start if self.drift else self.errors
        return 0.0 if self.worse_errors is None else self.worse_errors - base

    def rates(self, at: float, times: float = 1.0) -> tuple[float, float]:
        """How many calls of control and of the candidate fail, ``at`` seconds after the start, of users who meet
        ``times`` as many errors as all do."""
        base = self.drift.at(at) if self.drift else self.errors
        of_control, of_candidate = (_share(rate * times) for rate in (base, base + self.excess))
        for outage in self.outages:
            if outage.start_s <= at < outage.end_s:
                of_control += (1 - of_control) * outage.share
                of_candidate += (1 - of_candidate) * outage.share
        return of_control, of_candidate

    def next_change(self, at: float) -> float:
        """When an outage begins or ends next; infinite if none does."""
        edges = [edge for outage in self.outages for edge in (outage.start_s, outage.end_s)]
        return min((edge for edge in edges if edge > at), default=inf)

    def last_change(self, at: float) -> float:
        """When one began or ended last; 0 if none did."""
        edges = [edge for outage in self.outages for edge in (outage.start_s, outage.end_s)]
        return max((edge for edge in edges if edge <= at), default=0.0)

    def latencies(self) -> tuple[Spread, Spread]:
        """Of control and of the candidate, in seconds."""
        return (
            Spread.lognormal(self.latency_s, self.sigma),
            Spread.lognormal(self.latency_s * (1 + self.slower), self.sigma),
        )

    def costs(self) -> tuple[Spread | None, Spread | None]:
        """Of a call of control and of the unit, in milli-dollars; None where it costs nothing."""
        return _cost(self.control_nano), _cost(self.nano)

    def slower_than(self, tolerance: float) -> float:
        """In how many pairs the candidate takes longer than control by more than a share ``tolerance`` of it."""
        return 1 - NormalDist(log1p(self.slower), self.pair_sigma).cdf(log1p(tolerance))


def _cost(nano: float) -> Spread | None:
    return Spread.lognormal(nano * MILLI / exp(COST_SIGMA**2 / 2), COST_SIGMA) if nano else None


def _share(rate: float) -> float:
    return min(1.0, max(0.0, rate))
