"""What a spec file may say. It lies over what the code declares: what is not named stays as the code has it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from rollout import gates as declared
from rollout.domain.gates import GateSpec
from rollout.domain.ramp import Ramp

from . import values
from .values import refuse

_SUFFIXED: Final = {"soak": "soak_s", "bake": "bake_s", "deadline": "deadline_s"}
_OF_THRESHOLDS: Final = ("window", "minimum", "fewest", "consecutive")


class Table(BaseModel):
    """A table that takes its own keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def given(self) -> dict[str, Any]:
        """What the file sets, in the order of the fields."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class RampTable(Table):
    """The stages of every branch of the rollout. What is left out stays as the code has it."""

    stages: values.Stages | None = None
    """Shares of calls, rising, beginning with shadow: "shadow 1% 5% 25% 50% 100%"."""
    soak: values.Soak | None = None
    """The least time at each stage: "10m"."""
    bake: values.MaybeDuration = None
    """The time at the last stage before a branch is completed; "none": the soak time."""
    approve: values.Shares = ()
    """Stages that only a person may let a branch enter: "25% 100%"."""
    freeze: values.Windows = ()
    """Windows (UTC) without promotion: "Fri 16:00 - Mon 08:00", "2026-12-20 - 2027-01-02"."""
    harm: values.Harm | None = None
    """The most of all calls that a step may leave worse off: "0.25%". More needs less evidence, so less time."""
    deadline: values.Deadline = None
    """The most time at one stage before a person decides: "7d"; "none": no limit."""
    auto: values.Flag = True
    """Whether the controller promotes by itself; a rollback is always by itself."""

    @field_validator("approve")
    @classmethod
    def _approves_a_stage(cls, approve: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        """Where the stages are the code's, ``Spec.check_against`` looks."""
        stages = info.data.get("stages")
        if stages is not None and (problems := Ramp(stages=stages, approve=approve).problems()):
            raise refuse(*problems)
        return approve

    def fields(self) -> dict[str, Any]:
        """What is set, by the names of ``Ramp.to_dict``."""
        return {
            _SUFFIXED.get(name, name): list(value) if isinstance(value, tuple) else value
            for name, value in self.given().items()
        }


class ShadowTable(Table):
    """How much shadow traffic there may be."""

    sample: values.Share | None = None
    """The share of calls that run in shadow."""
    noise: values.Share | None = None
    """The share of those in which control runs once more, to learn how it differs from itself."""
    reverse: values.Share | None = None
    """In join="replace": the share of live calls in which control runs in shadow."""
    usd_per_day: values.MaybeDollars = None
    """Dollars that each branch may spend in shadow in a day (UTC), over all processes: "5"; "none": no limit."""


class StoreTable(Table):
    """What is kept of trials, and for how long."""

    sample: values.Share | None = None
    """The share of matched trials that are stored; every other outcome always is."""
    ttl: values.Ttl | None = None
    """How long a trial is kept: "7d"."""


class BudgetTable(Table):
    """The limits of one whole call."""

    latency: values.Latency | None = None
    """Until the deadline: "1.5s"."""
    tokens: values.MaybeTokens = None
    """Of all models together, in and out: 4000; "none": no limit."""
    usd: values.MaybeDollars = None
    """Dollars: "0.05"; "none": no limit."""


class PriceTable(Table):
    """What one model costs: dollars for a million tokens."""

    input: values.Price
    """Of input: "0.15"."""
    output: values.Price
    """Of output: "0.60"."""
    cached_input: values.Price | None = None
    """Of input that is read from a cache of prompts: "0.075". Default: as other input."""


class GateTable(Table):
    """What every gate takes."""

    mode: values.GateMode = "sequential"
    """How it judges. Default sequential: by evidence, with an error bound. threshold: by a limit over a window."""
    window: values.WindowSpan = 60.0
    """Of threshold gates: how far back it looks. Default 1m; a quiet rollout looks back until `minimum` calls."""
    minimum: values.Count = 50
    """Of threshold gates: the fewest calls that it judges. Default 50."""
    consecutive: values.Count = 1
    """Of threshold gates: how many looks in a row must breach. Default 1."""

    renamed: ClassVar[dict[str, str]] = {}

    @model_validator(mode="after")
    def _can_judge(self) -> GateTable:
        unused = [name for name in _OF_THRESHOLDS if name in self.model_fields_set]
        if unused and self.mode != "threshold":
            raise refuse(f'a sequential gate has no {" or ".join(unused)}; delete it, or write mode = "threshold"')
        if problems := self.spec().problems():
            raise refuse(*problems)
        return self

    def spec(self) -> GateSpec:
        """The gate, made by the function that a user of the code would call."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set if name != "kind"}
        make = getattr(declared, str(getattr(self, "kind")))  # noqa: B009  declared by every kind below
        gate: GateSpec = make(**{self.renamed.get(name, name): value for name, value in given.items()})
        return gate


class Errors(GateTable):
    """The candidate fails more often than control at the same moment."""

    kind: Literal["errors"]
    worse_by: values.MaybeShare = 0.0
    """How much the rate may lie above control's, in points: "1%". Default 0, of threshold gates 1%; "none": no such
    limit, which needs at_most."""
    at_most: values.MaybeShare = None
    """The rate may not lie above this, whatever control does."""
    fewest: values.Count = 3
    """Of threshold gates: the fewest failures that make a breach. Default 3."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Errors:
        if self.worse_by is None and self.at_most is None:
            raise refuse("it has no limit; give at_most or worse_by")
        return self


class Latency(GateTable):
    """A quantile of the candidate's latency against control's at the same moment."""

    renamed: ClassVar[dict[str, str]] = {"at_most": "at_most_s"}
    kind: Literal["latency"]
    q: values.Quantile = 0.95
    """The quantile, between 0 and 1. Default 0.95."""
    worse_by: values.MaybeExcess = 0.10
    """How much slower than control, relatively: "10%". Default 10%; "none": no such limit."""
    at_most: values.MaybeDuration = None
    """A limit of its own: "800ms"."""
    fewest: values.Count = 3
    """Of threshold gates: the fewest slow calls that make a breach. Default 3."""


class Mismatches(GateTable):
    """Calls whose compared replies differ."""

    kind: Literal["mismatches"]
    at_most: values.Share = 0.001
    """Their share of the calls in which both sides answered. Default 0.1%."""
    beyond_noise: values.Flag = False
    """Whether only what differs more often than control from itself counts; it needs shadow.noise and many more
    calls."""
    fewest: values.Count = 3
    """Of threshold gates: the fewest that make a breach. Default 3."""


class Cost(GateTable):
    """The mean cost of the branch per call."""

    kind: Literal["cost"]
    usd_per_call: values.MaybeDollars = None
    """Dollars: "0.01"."""
    worse_by: values.MaybeExcess = None
    """How much dearer than control, relatively: "20%"."""


class Sla(GateTable):
    """Runs of the branch that took longer than its SLA."""

    kind: Literal["sla"]
    at_most: values.Share = 0.05
    """Their share. Default 5%."""
    fewest: values.Count = 3
    """Of threshold gates: the fewest that make a breach. Default 3."""


class Fallbacks(GateTable):
    """Calls that control answered because the branch failed."""

    kind: Literal["fallbacks"]
    at_most: values.Share = 0.01
    """Their share. Default 1%."""
    fewest: values.Count = 3
    """Of threshold gates: the fewest that make a breach. Default 3."""


Gate = Annotated[Errors | Latency | Mismatches | Cost | Sla | Fallbacks, Field(discriminator="kind")]
GATES: dict[str, type[GateTable]] = {
    "errors": Errors,
    "latency": Latency,
    "mismatches": Mismatches,
    "cost": Cost,
    "sla": Sla,
    "fallbacks": Fallbacks,
}


class RolloutTable(Table):
    """What the spec says of one declared rollout."""

    ramp: RampTable | None = None
    shadow: ShadowTable | None = None
    store: StoreTable | None = None
    budget: BudgetTable | None = None
    prices: dict[str, PriceTable] | None = None
    """Model → what it costs: laid over the prices of the code, model by model."""
    gates: Annotated[list[Gate], Field(min_length=1)] | None = None
    """All gates of the rollout: they replace those of the code."""


class SpecFile(Table):
    """rollout.toml: ramp, gates, budget, prices and sampling of rollouts that the code declares."""

    rollouts: dict[str, RolloutTable] = {}
    """Rollout name → what is set for it."""
