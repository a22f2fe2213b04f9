"""A database in memory: a ``Backend`` with both stores, whole, and with faults on request."""

from __future__ import annotations

from rollout.ports import Backend, Clock
from rollout.testing.doubles import SystemClock
from rollout.testing.faults import Faults
from rollout.testing.memory_ledger import MemoryLedger
from rollout.testing.memory_state import MemoryState


class MemoryBackend(Backend):
    """A database in memory, for one event loop at a time. ``clock`` is the database's clock; the real time by default.

    Faults, until ``heal()``; with ``only=("append",)`` just these methods suffer:

    * ``fail_with(DatabaseError("gone"))``: every call raises it and does nothing;
      with ``done_first=True`` it does its work and then raises, as when only the answer is lost.
    * ``hang()``: every call waits.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.faults = Faults()
        self.closed = False
        state = MemoryState(clock or SystemClock(), self.faults)
        super().__init__(state=state, ledger=MemoryLedger(state, self.faults), url="memory:", close=self._close)

    def fail_with(self, error: BaseException, *, only: tuple[str, ...] = (), done_first: bool = False) -> None:
        self.faults.fail_with(error, only, done_first)

    def hang(self, *, only: tuple[str, ...] = ()) -> None:
        self.faults.hang(only)

    def heal(self) -> None:
        self.faults.heal()

    async def _close(self) -> None:
        self.closed = True


def memory_backend(clock: Clock | None = None) -> MemoryBackend:
    """An empty database in memory."""
    return MemoryBackend(clock)
