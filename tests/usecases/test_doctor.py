"""The doctor finds what is planted, explains it, and finds nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from rollout import gates
from rollout.domain.checkup import CHECKS, Diagnosis
from rollout.domain.evidence import Block, BlockKey, Figures
from rollout.domain.state import FlagOverride
from rollout.domain.symptoms import SYMPTOMS
from rollout.errors import DatabaseError
from rollout.ports import GateCheckpoint
from rollout.testing import ManualClock, MemoryBackend, memory_backend, sample_batch, sample_policy
from rollout.usecases.doctor import doctor

WELL = {"calls": 100, "drawn": 100, "started": 100, "finished": 100, "compared": 100, "stored": 100}


class Patient:
    """A set-up in which all is well, until something is planted."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.backend: MemoryBackend = memory_backend(self.clock)
        self.skew = 0.0

    async def begin(
        self, whole: Mapping[str, int] | None = None, pairs: Mapping[str, int] | None = None, **policy: Any
    ) -> None:
        declared = sample_policy(settle_s=1.0, **{"gates": (gates.errors(), gates.mismatches()), **policy})
        await self.backend.state.register(declared, "app-1")
        await self.report(whole, pairs)
        await self.backend.state.lease("controller", "app-1", 10.0)

    async def report(self, whole: Mapping[str, int] | None = None, pairs: Mapping[str, int] | None = None) -> None:
        self.clock.advance(5)
        second = int(self.clock.wall()) - 3
        blocks = [
            _block("", "*", 0, second, WELL if whole is None else whole),
            _block("orders", "P", 1, second, {"pairs": 100, "matched": 100, "costed": 100} if pairs is None else pairs),
        ]
        await self.backend.ledger.append(sample_batch(*blocks))

    async def ask(self, spec: Mapping[str, Mapping[str, Any]] | None = None) -> Diagnosis:
        return await doctor(self.backend, lambda: self.clock.wall() + self.skew, spec)

    async def names(self, spec: Mapping[str, Mapping[str, Any]] | None = None) -> list[str]:
        return [fault.name for fault in (await self.ask(spec)).faults]


def _block(unit: str, arm: Any, entry: int, second: int, counts: Mapping[str, int]) -> Block:
    figures = Figures({name.replace("__", ":"): count for name, count in counts.items()})
    return Block(BlockKey("profile", unit, arm, 1, entry, second, 1, "app-1"), figures)


@pytest.fixture
async def patient() -> Patient:
    return Patient()


async def test_where_nothing_is_wrong_nothing_is_found(patient: Patient) -> None:
    await patient.begin()
    assert await patient.names(spec={}) == []


ACCOUNT_OF = {"gates": {}, "pending": [], "counts": [0, 0, 0, 0, 0], "live": False}


@pytest.mark.parametrize(
    ("hours", "errors", "mismatches", "evidence"),
    [
        (24.0, 0.05, 2.0, "2% of the evidence for errors after 1d"),
        (24.0, 2.0, 0.05, "2% of the evidence for mismatches after 1d"),
        (24.0, 0.0, 2.0, "0% of the evidence for errors after 1d"),
        (24.0, 0.5, 2.0, None),  # six days
        (0.9, 0.001, 2.0, None),  # too early to tell
        (24.0, -1.0, 2.0, None),  # speaks against the step, which the gate tells
        (24.0, 3.1, 3.1, None),  # shown
        (24.0, None, None, None),  # no step is left
    ],
)
async def test_a_stage_that_takes_more_than_a_month_at_this_rate(
    patient: Patient, hours: float, errors: float | None, mismatches: float | None, evidence: str | None
) -> None:
    await patient.begin()
    entered_at = (await patient.backend.state.load()).states["profile"]["orders"].entered_at
    second = int(entered_at + hours * 3_600)
    patient.clock.advance(hours * 3_600)
    await patient.report()
    lease = await patient.backend.state.lease("controller", "app-1", 10.0)
    logs = [None if e is None else round(e * 100) for e in (errors, mismatches)]
    curve = {"step": 1, "rows": [[second, 0.0, -100, logs[0], -100, logs[1]]]}
    checkpoint = GateCheckpoint(
        rollout="profile", unit="orders", entry=1, version=1, closed_second=int(patient.clock.wall()) - 3,
        states={"account": {**ACCOUNT_OF, "curve": curve}},
    )  # fmt: skip
    await patient.backend.state.save_checkpoints([checkpoint], lease)
    found = {fault.name: fault for fault in (await patient.ask()).faults}
    assert set(found) == (set() if evidence is None else {"slow_stage"})
    if evidence is not None:
        assert found["slow_stage"].evidence == evidence
        assert "ramp.harm" in found["slow_stage"].remedy


async def test_a_gate_that_needs_noise_runs_where_there_are_none(patient: Patient) -> None:
    await patient.begin(gates=(gates.mismatches(beyond_noise=True),), noise=0.0)
    (fault,) = (await patient.ask()).faults
    assert (fault.name, fault.evidence) == ("no_noise", "shadow.noise is 0%")


@pytest.mark.parametrize(("beyond_noise", "noise"), [(True, 0.01), (False, 0.0)])
async def test_a_gate_that_has_its_noise_runs_or_needs_none(patient: Patient, beyond_noise: bool, noise: float) -> None:
    await patient.begin(gates=(gates.mismatches(beyond_noise=beyond_noise),), noise=noise)
    assert await patient.names() == []


async def test_an_empty_database(patient: Patient) -> None:
    assert await patient.names() == ["no_rollout"]


async def test_a_database_that_cannot_be_written(patient: Patient) -> None:
    await patient.begin()
    patient.backend.fail_with(DatabaseError("attempt to write a readonly database"), only=("lease",))
    (fault,) = (await patient.ask()).faults
    assert fault.name == "unwritable"
    assert "readonly" in fault.evidence
    assert "right to write" in fault.remedy


async def test_clocks_that_differ(patient: Patient) -> None:
    await patient.begin()
    patient.skew = -7.0
    (fault,) = (await patient.ask()).faults
    assert (fault.name, fault.evidence) == ("clock_skew", "this machine is 7s behind the database")


async def test_nobody_decides(patient: Patient) -> None:
    await patient.begin()
    patient.clock.advance(20)
    assert await patient.names() == ["no_controller"]


async def test_a_controller_that_was_refused(patient: Patient) -> None:
    await patient.begin()
    patient.backend.state._fenced = 3  # type: ignore[attr-defined]
    assert await patient.names() == ["fenced"]


async def test_processes_that_fell_silent(patient: Patient) -> None:
    await patient.begin()
    patient.clock.advance(600)
    await patient.backend.state.lease("controller", "app-1", 10.0)
    (fault,) = (await patient.ask()).faults
    assert fault.name == "silent"
    assert "10m" in fault.evidence


async def test_a_rollout_that_never_had_a_call(patient: Patient) -> None:
    await patient.backend.state.register(sample_policy(), "app-1")
    await patient.backend.state.lease("controller", "app-1", 10.0)
    (fault,) = (await patient.ask()).faults
    assert (fault.name, fault.what) == ("silent", "No process has ever reported a call.")


async def test_a_controller_that_is_behind(patient: Patient) -> None:
    await patient.begin()
    old = int(patient.clock.wall()) - 300
    checkpoint = GateCheckpoint("profile", "orders", 1, 1, old, {})
    await patient.backend.state.save_checkpoints([checkpoint], None)
    assert await patient.names() == ["controller_lag"]


async def test_trials_that_are_dropped(patient: Patient) -> None:
    await patient.begin({**WELL, "stored": 90, "dropped__queue_full": 10})
    (fault,) = (await patient.ask()).faults
    assert fault.name == "dropped"
    assert "10 of 100: queue_full 10" in fault.evidence


async def test_blocks_that_come_too_late(patient: Patient) -> None:
    await patient.begin()
    now = int(patient.clock.wall())
    await patient.backend.state.save_checkpoints([GateCheckpoint("profile", "orders", 1, 1, now, {})], None)
    late = [_block("orders", "A", 1, now - second, {"calls": 1}) for second in range(1, 13)]
    await patient.backend.ledger.append(sample_batch(*late))
    assert await patient.names() == ["late_blocks"]


async def test_a_flag_that_somebody_forgot(patient: Patient) -> None:
    await patient.begin()
    flag = FlagOverride(flag="profile", value="off", reason="incident 7", actor="ann")
    await patient.backend.state.set_flag(flag)
    (fault,) = (await patient.ask()).faults
    assert fault.name == "flag_override"
    assert "by ann: incident 7" in fault.evidence
    assert "rollout flag clear profile" in fault.remedy


async def test_a_flag_of_one_tester_is_no_fault(patient: Patient) -> None:
    await patient.begin()
    await patient.backend.state.set_flag(FlagOverride(flag="profile", value="off", key="bob"))
    assert await patient.names() == []


async def test_an_audit_that_was_tampered_with(patient: Patient) -> None:
    await patient.begin()
    decisions = patient.backend.state._decisions  # type: ignore[attr-defined]
    decisions[0] = replace(decisions[0], actor="nobody")
    assert await patient.names() == ["audit"]


async def test_a_sample_of_nothing(patient: Patient) -> None:
    await patient.begin({"calls": 100}, {}, sample=0.0)
    (fault,) = (await patient.ask()).faults
    assert (fault.name, fault.evidence) == ("never_drawn", "shadow.sample is 0%")


async def test_calls_that_are_all_skipped_for_one_reason(patient: Patient) -> None:
    await patient.begin({"calls": 100, "skipped__too_large": 100}, {})
    (fault,) = (await patient.ask()).faults
    assert (fault.name, fault.evidence) == ("never_drawn", "skipped: too_large 100")
    assert "max_body" in fault.remedy


async def test_shadows_that_are_refused(patient: Patient) -> None:
    whole = {**WELL, "started": 20, "finished": 20, "compared": 20, "stored": 20, "refused__lag": 80}
    await patient.begin(whole)
    assert await patient.names() == ["refused"]


async def test_a_gate_on_mismatches_with_nothing_to_compare(patient: Patient) -> None:
    await patient.begin(pairs={"pairs": 100, "incomparable": 100})
    assert await patient.names() == ["nothing_compared"]


async def test_hooks_that_raise(patient: Patient) -> None:
    await patient.begin({**WELL, "hook__key": 12})
    (fault,) = (await patient.ask()).faults
    assert (fault.name, fault.evidence) == ("hooks", "in the last hour: key 12")


async def test_a_flag_source_that_gives_no_answer(patient: Patient) -> None:
    await patient.begin({**WELL, "flag__timeout": 12})
    (fault,) = (await patient.ask()).faults
    assert (fault.name, fault.evidence) == ("flag_source", "in the last hour: timeout 12")


async def test_a_gate_on_cost_without_prices(patient: Patient) -> None:
    await patient.begin(
        pairs={"pairs": 100, "matched": 100, "unpriced": 5}, gates=(gates.errors(), gates.cost(usd_per_call="0.01"))
    )
    assert await patient.names() == ["unpriced"]


async def test_a_spec_of_a_rollout_that_vanished(patient: Patient) -> None:
    await patient.begin()
    assert await patient.names({"profil": {"shadow.sample": 0.5}}) == ["spec_vanished"]


async def test_a_spec_that_was_changed_and_not_applied(patient: Patient) -> None:
    await patient.begin()
    assert await patient.names({"profile": {"shadow.sample": 0.5}}) == ["spec_not_applied"]
    await patient.backend.state.apply("profile", {"shadow.sample": 0.25}, "spec rollout.toml", "ann")
    assert await patient.names({"profile": {"shadow.sample": 0.5}}) == ["spec_not_applied"]
    assert await patient.names({"profile": {"shadow.sample": 0.25}}) == []


def test_every_check_has_a_name_of_its_own() -> None:
    assert not set(CHECKS) & set(SYMPTOMS)
    assert len({**CHECKS, **SYMPTOMS}) >= 15
