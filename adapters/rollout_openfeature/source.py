"""``OpenFeatureFlags``: whoever is bound to the domain ``rollout`` says what a call may do, else the toolkit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any, Final

from openfeature import api
from openfeature.provider._registry import provider_registry

from rollout.domain.state import Snapshot
from rollout.ports import FlagAnswer

from .evaluation import Evaluation
from .pool import Pool
from .provider import ArmProvider, RolloutProvider

DOMAIN: Final = "rollout"
_LATE: Final = FlagAnswer("off", "timeout")
_BUSY: Final = FlagAnswer("off", "busy")
_UNKNOWN: Final = FlagAnswer("off", "not_found", found=False)


class OpenFeatureFlags:
    """The ``FlagSource`` over OpenFeature. What is not answered clearly and in time is ``off``.

    * ``provider``: the toolkit's own. Default: a new one. Feed it by ``update``.
    * ``timeout_s``: an answer that takes longer is ``off``, reason ``timeout``. Default 0.05.
    * ``threads``: evaluations at once, default 8; ``waiting``: further ones that may wait, default 64. Beyond, or
      while every thread hangs, the answer is ``off`` at once, reason ``busy``.
    * ``on_loop``: whether the bound provider's async methods are awaited on the event loop. Default False: the
      sync ones run in the pool. A provider's async methods are its sync ones unless it says otherwise, and nothing
      tells from outside whether they block; set this only for a provider that is known not to: it costs a fifth.
    """

    def __init__(
        self,
        provider: RolloutProvider | None = None,
        *,
        timeout_s: float = 0.05,
        threads: int = 8,
        waiting: int = 64,
        on_loop: bool = False,
    ) -> None:
        self.provider = provider or RolloutProvider()
        self._look = self.provider.memory.look
        # The one private name that is used: no public call tells a domain's own provider from the default one.
        self._bindings = provider_registry._providers
        self._evaluate = Evaluation(api.get_client(DOMAIN))
        self._pool = Pool(threads, waiting)
        self._timeout_s, self._on_loop = timeout_s, on_loop
        self._asking: set[asyncio.Task[FlagAnswer]] = set()
        self._most = threads + waiting
        self._counts: dict[tuple[str, str, str], int] = {}

    def bind(self) -> None:
        """Bind the toolkit's own provider to the domain, unless the user has bound one (before, or later: theirs
        then serves).
        """
        if not self._foreign():
            api.set_provider_and_wait(self.provider, DOMAIN)

    def update(self, snapshot: Snapshot) -> None:
        """The toolkit's own answers are those of this snapshot from now on."""
        self.provider.update(snapshot)

    def peek(self, flag: str, key: str | None) -> FlagAnswer | None:
        """The toolkit's own answer; None while another provider is bound to the domain. A look-up of about 0.2 µs."""
        bound = self._bindings.get(DOMAIN)
        if bound is not None and bound.__class__ is not RolloutProvider:
            return None
        cell = self._look(flag, key)
        if cell is None:
            return self._counted(flag, _UNKNOWN)
        cell.count += 1
        return cell.answer

    def answers_alike(self) -> bool:
        """Whether the toolkit's own memory answers, which changes with a snapshot only: a look-up of 0.1 µs."""
        bound = self._bindings.get(DOMAIN)
        return bound is None or bound.__class__ is RolloutProvider

    async def ask(self, flag: str, key: str | None, context: Mapping[str, Any]) -> FlagAnswer:
        """The answer of whoever is bound, within ``timeout_s``. Never raises but for the cancellation of the caller."""
        answer = self.peek(flag, key)
        if answer is not None:
            return answer
        ask = self._await if self._on_loop else self._thread
        try:
            answer = await ask(flag, key, context)
        except Exception:
            answer = FlagAnswer("off", "error")
        return self._counted(flag, answer)

    def arms(self) -> ArmProvider:
        """The provider to bind to a domain of one's own, so that other code follows the same rollouts, ceilings
        included.
        """
        return self.provider.arms(self._now)

    @property
    def evaluations(self) -> dict[tuple[str, str, str], int]:
        """(flag, value, reason) → how often it was answered since the start."""
        counts = dict(self._counts)
        for name, count in self.provider.memory.counted():
            counts[name] = counts.get(name, 0) + count
        return counts

    def source(self) -> str:
        """Who answers, for people: the toolkit, or the provider that is bound, with its state if it is not ready."""
        if not self._foreign():
            return self.provider.get_metadata().name
        client = api.get_client(DOMAIN)
        try:
            state = client.get_provider_status().value
            return client.provider.get_metadata().name + ("" if state == "READY" else f" ({state})")
        except Exception:  # an unhashable provider has no state
            return type(client.provider).__name__

    def close(self) -> None:
        """Stop asking. Waits for nothing: a thread that hangs in a provider is left to end with the process."""
        self._pool.close()

    def _now(self, flag: str, key: str | None, context: Mapping[str, Any]) -> FlagAnswer:
        """The answer in the calling thread, however long it takes."""
        return self.peek(flag, key) or self._counted(flag, self._evaluate(flag, key, context))

    def _foreign(self) -> bool:
        return not isinstance(self._bindings.get(DOMAIN), RolloutProvider | None)

    def _counted(self, flag: str, answer: FlagAnswer) -> FlagAnswer:
        name = (flag, answer.value, answer.reason)
        self._counts[name] = self._counts.get(name, 0) + 1
        return answer

    async def _thread(self, flag: str, key: str | None, context: Mapping[str, Any]) -> FlagAnswer:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[FlagAnswer] = loop.create_future()
        variables = copy_context()  # a transaction context may live in one

        def work() -> None:
            found = variables.run(self._evaluate, flag, key, context)
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(_settle, answer, found)

        job = self._pool.submit(work)
        if job is None:
            return _BUSY
        try:
            await asyncio.wait((answer,), timeout=self._timeout_s)
        finally:
            job.abandon()
        return answer.result() if answer.done() else _LATE

    async def _await(self, flag: str, key: str | None, context: Mapping[str, Any]) -> FlagAnswer:
        if len(self._asking) >= self._most:
            return _BUSY
        task = asyncio.create_task(self._evaluate.on_loop(flag, key, context))
        self._asking.add(task)  # a task that swallows its cancellation stays in here, and is waited for by nobody
        task.add_done_callback(self._asking.discard)
        try:
            await asyncio.wait((task,), timeout=self._timeout_s)
        finally:
            task.cancel()
        return task.result() if task.done() and not task.cancelled() else _LATE


def _settle(future: asyncio.Future[FlagAnswer], answer: FlagAnswer) -> None:
    if not future.done():
        future.set_result(answer)
