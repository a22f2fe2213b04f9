"""The most that one call may do: a branch's flag, capped by its rollout's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, Protocol

Ceiling = Literal["off", "shadow", "auto", "on"]

#: Why an answer is ``off`` though the source did not say so.
NO_ANSWER: Final = ("error", "type", "timeout", "not_ready", "not_found", "busy", "value")

#: From least to most.
CEILINGS: Final[tuple[Ceiling, ...]] = ("off", "shadow", "auto", "on")
_RANK: Final[Mapping[str, int]] = MappingProxyType({value: rank for rank, value in enumerate(CEILINGS)})


class Answer(Protocol):
    """What a flag source answers; ``rollout.ports.FlagAnswer`` is one."""

    @property
    def value(self) -> str: ...
    @property
    def found(self) -> bool: ...


def ceiling(rollout: Answer, branch: Answer | None = None) -> Ceiling:
    """The ceiling of a branch for one call: the lesser of both flags.

    ``branch`` is None where the branch declares no flag; a flag that the source does not know is inherited as well. The
    rollout's own flag, not found, counts as its value says (``off``: a source that was bound and does not know the
    rollout has not allowed it anything). A value that is none of the four is ``off``.
    """
    of_rollout = _RANK.get(rollout.value, 0)
    if branch is None or not branch.found:
        return CEILINGS[of_rollout]
    return CEILINGS[min(of_rollout, _RANK.get(branch.value, 0))]
