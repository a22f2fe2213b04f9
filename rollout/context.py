"""Where the code that runs now belongs to: a context variable, set for control and for every branch run.

``record_usage`` may be called anywhere below a branch or control, in tasks it started too; outside of both it does
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, ParamSpec, TypeVar

from rollout.domain.cost import Usage, nano_usd
from rollout.domain.prices import PriceBook


@dataclass(slots=True, eq=False)
class RunContext:
    """The run that this code is part of. ``branch`` is ``""`` for control. ``deadline``: absolute, on ``clock``, in
    seconds; None: none.
    ``blocked`` is told the method and address of each side effect that was refused."""

    rollout: str
    branch: str = ""
    is_shadow: bool = False
    deadline: float | None = None
    clock: Callable[[], float] | None = None
    usage: Usage | None = None  # made by the first `record_usage`
    blocked: Callable[[str, str], None] | None = None
    jobs: list[Future[Any]] | None = None  # in pools, by `run_in_pool`
    prices: PriceBook | None = None

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the deadline, never below 0; None without one."""
        if self.deadline is None or self.clock is None:
            return None
        return max(0.0, self.deadline - self.clock())


_P = ParamSpec("_P")
_R = TypeVar("_R")

current_run: ContextVar[RunContext | None] = ContextVar("rollout_current_run", default=None)


def in_shadow() -> bool:
    """Whether this code runs as part of a shadow: nothing it does reaches a user."""
    run = current_run.get()
    return run is not None and run.is_shadow


def record_usage(
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cached_tokens: int = 0,
    model: str = "",
    usd: str | float | Decimal | None = None,
) -> None:
    """Add what one call of a model used to the branch or control that runs now.

    ``cached_tokens``: those of ``input_tokens`` that were read from a cache of prompts. ``usd``: its cost in dollars;
    left out, it is that of the rollout's ``prices=``, or unknown (not zero). Counts must be 0 or more, else
    ``ValueError``.
    """
    if input_tokens < 0 or output_tokens < 0 or not 0 <= cached_tokens <= input_tokens:
        raise ValueError(
            f"token counts must be 0 or more, and what is cached is part of the input; not {input_tokens} in"
            f" ({cached_tokens} of them cached) and {output_tokens} out"
        )
    nano = None if usd is None else nano_usd(usd)
    run = current_run.get()
    if run is None:
        return
    if run.usage is None:
        run.usage = Usage()
    if nano is None and run.prices is not None and model:
        nano = run.prices.cost_nano(model, int(input_tokens), int(output_tokens), int(cached_tokens))
    run.usage.cached_tokens += int(cached_tokens)
    run.usage.add(int(input_tokens), int(output_tokens), nano, model)


async def run_in_pool(pool: Executor, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Run a function in a pool of threads or processes, and wait for its result.

    As ``loop.run_in_executor``, but the run that it belongs to keeps its slot of ``max_concurrency`` until the function
    has really ended: a job that runs cannot be cancelled, and those of branches that were cut would fill the pool
    unseen.
    """
    remembered = _Remembering(pool)
    result = asyncio.get_running_loop().run_in_executor(remembered, partial(function, *args, **kwargs))
    run = current_run.get()
    if run is not None:
        run.jobs = [*(run.jobs or ()), *remembered.jobs]
    return await result


class _Remembering(Executor):
    """A pool that remembers what was submitted: an event loop gives only its own end of a job away."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self.jobs: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job = self._pool.submit(function, *args, **kwargs)
        self.jobs.append(job)
        return job
