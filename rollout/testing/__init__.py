"""Fakes for tests, ours and yours: time, dice and flags that do as told, a database in memory, sample values.

    clock = ManualClock()
    backend = memory_backend(clock)
    await backend.state.register(sample_policy(branches=("orders",)), "me")
    clock.advance(600)
    backend.fail_with(DatabaseError("gone"))      # every call now raises; ``heal()`` ends it

And for branches: ``chaos`` puts faults on them, and ``run_virtual`` runs a coroutine in virtual time.

    search = FanOut("search", [orders, chaos(tickets, hang=True)])
    run_virtual(search.run(sample_call()))        # a budget of 1.5 seconds is over at once

Everything here is of the standard library and runs in virtual time.
"""

from rollout.testing.chaos import chaos
from rollout.testing.doubles import FakeFlags, FixedDice, ManualClock, SystemClock
from rollout.testing.memory import MemoryBackend, memory_backend
from rollout.testing.samples import (
    sample_batch,
    sample_block,
    sample_call,
    sample_change,
    sample_decision,
    sample_mismatch,
    sample_policy,
    sample_subject,
    sample_trial,
)
from rollout.testing.virtual import Deadlock, VirtualLoop, run_virtual, virtual_time

__all__ = [
    "Deadlock",
    "FakeFlags",
    "FixedDice",
    "ManualClock",
    "MemoryBackend",
    "SystemClock",
    "VirtualLoop",
    "chaos",
    "memory_backend",
    "run_virtual",
    "sample_batch",
    "sample_block",
    "sample_call",
    "sample_change",
    "sample_decision",
    "sample_mismatch",
    "sample_policy",
    "sample_subject",
    "sample_trial",
    "virtual_time",
]
