"""The toolkit's own OpenFeature provider: ceilings for the domain ``rollout``, arms for any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from rollout.domain.state import Snapshot
from rollout.ports import FlagAnswer

from .arms import Arms, Ask
from .memory import NAME, FlagMemory

T = TypeVar("T")


class _Strings(AbstractProvider):
    """A provider of string flags. Asked for another type, it says so."""

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        return _no_string(default_value)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return _no_string(default_value)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        return _no_string(default_value)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        return _no_string(default_value)


class RolloutProvider(_Strings):
    """What the toolkit answers where nobody bound a provider of their own to the domain ``rollout``.

    ``auto`` for every declared flag, or what ``rollout flag set FLAG VALUE [--key KEY]`` stored: a key's own value
    beats everybody's. Any other flag is FLAG_NOT_FOUND. It asks nobody: it answers from the snapshot it was last
    fed with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.memory = FlagMemory()
        self._arms: list[ArmProvider] = []

    def update(self, snapshot: Snapshot) -> None:
        """Answer from this snapshot from now on.

        Tells the handlers of PROVIDER_CONFIGURATION_CHANGED which flags changed.
        """
        changed = self.memory.update(snapshot)
        if changed:
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=changed))
        for provider in self._arms:
            provider.update(snapshot)

    def arms(self, ask: Ask | None = None) -> ArmProvider:
        """The provider to bind to a domain of one's own, so that other code follows the same rollouts.

        ``ask``: where the ceilings come from, ``(flag, key, context) -> FlagAnswer``. Default: this provider.
        (``OpenFeatureFlags.arms`` asks whoever serves the domain ``rollout``.)
        """
        provider = ArmProvider(Arms(ask or self._own))
        if self.memory.snapshot is not None:
            provider.update(self.memory.snapshot)
        self._arms.append(provider)
        return provider

    def _own(self, flag: str, key: str | None, context: Mapping[str, object]) -> FlagAnswer:
        cell = self.memory.look(flag, key)
        return cell.answer if cell else FlagAnswer("off", "not_found", found=False)

    def get_metadata(self) -> Metadata:
        return Metadata(NAME)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        key = evaluation_context.targeting_key if evaluation_context else None
        cell = self.memory.look(flag_key, key)
        if cell is None:
            return _not_found(flag_key, default_value)
        answer = cell.answer
        return FlagResolutionDetails(answer.value, reason=answer.reason.upper(), variant=answer.value)


class ArmProvider(_Strings):
    """``live``, ``shadow`` or ``control`` for a targeting key, by the bucket that the middleware itself uses.

    Flags: a rollout's name or flag (``live`` where any of its branches is), ``"ROLLOUT/BRANCH"``, or a branch's
    own flag. Where a key is needed to tell and none is given, and where calls are drawn alone, the answer is the
    default, with the error TARGETING_KEY_MISSING.
    """

    def __init__(self, arms: Arms) -> None:
        super().__init__()
        self._arms = arms

    def update(self, snapshot: Snapshot) -> None:
        """Answer from this snapshot from now on."""
        changed = self._arms.update(snapshot)
        if changed:
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=changed))

    def get_metadata(self) -> Metadata:
        return Metadata("rolloutkit arms")

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        if not self._arms.knows(flag_key):
            return _not_found(flag_key, default_value)
        context = evaluation_context or EvaluationContext()
        arm = self._arms.arm(flag_key, context.targeting_key, context.attributes)
        if arm is None:
            message = f'"{flag_key}" depends on who the call belongs to; set a targeting key'
            return _error(default_value, ErrorCode.TARGETING_KEY_MISSING, message)
        return FlagResolutionDetails(arm, reason=Reason.SPLIT, variant=arm)


def _not_found(flag: str, default: T) -> FlagResolutionDetails[T]:
    return _error(default, ErrorCode.FLAG_NOT_FOUND, f'no rollout or branch has the flag "{flag}"')


def _no_string(default: T) -> FlagResolutionDetails[T]:
    return _error(default, ErrorCode.TYPE_MISMATCH, "flags of rollouts are strings")


def _error(default: T, code: ErrorCode, message: str) -> FlagResolutionDetails[T]:
    return FlagResolutionDetails(default, reason=Reason.ERROR, error_code=code, error_message=message)
