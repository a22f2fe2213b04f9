"""Fakes for tests, ours and yours: time, dice and flags that do as told, a database in memory, sample values.

    clock = ManualClock()
    backend = memory_backend(clock)
    await backend.state.register(sample_policy(branches=("orders",)), "me")
    clock.advance(600)
    backend.fail_with(DatabaseError("gone"))      # every call now raises; ``heal()`` ends it

Everything here is of the standard library and runs in virtual time.
"""

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

__all__ = [
    "FakeFlags",
    "FixedDice",
    "ManualClock",
    "MemoryBackend",
    "SystemClock",
    "memory_backend",
    "sample_batch",
    "sample_block",
    "sample_call",
    "sample_change",
    "sample_decision",
    "sample_mismatch",
    "sample_policy",
    "sample_subject",
    "sample_trial",
]
