"""A person at the command line, who does not ask what the controller is about to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

from rollout.errors import Conflict, DatabaseError, IllegalTransition, Refused
from rollout.ports import Backend
from rollout.usecases import steer

ANN = "ann"

Act = Callable[[Backend, str, str, Random], Awaitable[object]]


async def promote(backend: Backend, rollout: str, branch: str, _: Random) -> object:
    return await steer.promote(backend, rollout, branch, actor=ANN)


async def force(backend: Backend, rollout: str, branch: str, _: Random) -> object:
    return await steer.promote(backend, rollout, branch, force=True, reason="in a hurry", actor=ANN)


async def rollback(backend: Backend, rollout: str, branch: str, _: Random) -> object:
    return await steer.rollback(backend, rollout, branch, actor=ANN)


async def pause(backend: Backend, rollout: str, branch: str, _: Random) -> object:
    return await steer.pause(backend, rollout, branch, actor=ANN)


async def resume(backend: Backend, rollout: str, branch: str, _: Random) -> object:
    return await steer.resume(backend, rollout, branch, actor=ANN)


async def reset(backend: Backend, rollout: str, branch: str, _: Random) -> object:
    return await steer.reset(backend, rollout, branch, actor=ANN)


async def approve(backend: Backend, rollout: str, branch: str, _: Random) -> object:
    return await steer.approve(backend, rollout, branch, actor=ANN)


async def close_flag(backend: Backend, rollout: str, _: str, dice: Random) -> object:
    return await steer.set_flag(backend, rollout, dice.choice(("off", "shadow")), actor=ANN)


async def open_flag(backend: Backend, rollout: str, _: str, __: Random) -> object:
    return await steer.clear_flag(backend, rollout, actor=ANN)


ACTS: tuple[Act, ...] = (promote, force, force, rollback, pause, resume, reset, approve, close_flag, open_flag)

#: Those that may come between a decision of the controller's and its writing.
STEPS: tuple[Act, ...] = (promote, force, force, force, pause, resume, resume)


async def attempt(act: Act, backend: Backend, rollout: str, branch: str, dice: Random) -> str:
    """Do it; what came of it, in words."""
    try:
        await act(backend, rollout, branch, dice)
    except (Refused, IllegalTransition) as refused:
        return f"refused: {str(refused).splitlines()[0]}"
    except (Conflict, DatabaseError) as failed:
        return f"failed: {failed}"
    return "done"
