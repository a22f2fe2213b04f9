"""Error bounds, and the capital that gates are given to bet with.

A gate against which nothing holds may reach 1/α with probability at most α as long as the capital it is ever given adds
up to at most 1: a sum of e-processes, each begun with its share, is one (Shin, Ramdas, Rinaldo, arXiv 2203.03532). So a
rollback gate bets ``START`` at once, 0.4 in all on the entries of live stages, and 0.2 in all block by block: a
regression after 50 000 clean calls is met by capital that has not been lost on them.
"""

from __future__ import annotations

from typing import Final

#: How likely a branch that is no worse may ever be rolled back, all branches of a rollout together.
ALPHA_ROLLBACK: Final = 0.01
#: How likely a branch that is worse than the tolerance may pass a stage.
ALPHA_PROMOTE: Final = 0.05
#: How likely sound plumbing may ever be called a breach of the allocation.
ALPHA_ALLOCATION: Final = 0.001

#: The capital of a rollback gate at its start.
START: Final = 0.4
#: What all entries of live stages are given together.
STAGES: Final = 0.4
#: What all blocks are given together, however many follow.
TRICKLE: Final = 0.2
#: The block until which half of ``TRICKLE`` is given.
HALF: Final = 3_600


def restart_weight(t: int) -> float:
    """The capital given before block ``t`` (1, 2, …: blocks that hold both arms): 0.2·[K/(K+t−1) − K/(K+t)], K = 3600.

    Over all t it adds up to 0.2. ``ValueError`` for t below 1.
    """
    if t < 1:
        raise ValueError(f"block {t} has no restart weight: blocks count from 1")
    return TRICKLE * HALF / ((HALF + t - 1) * (HALF + t))
