"""One evaluation by the OpenFeature client: whatever the provider does, the answer is one of four words and a
reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from rollout.domain.flags import CEILINGS
from rollout.ports import FlagAnswer

#: Why an answer is ``off`` though the provider did not say so. Reasons become labels of metrics, so they are a
#: closed list.
_ERRORS: Final[Mapping[str, str]] = {
    ErrorCode.FLAG_NOT_FOUND: "not_found",
    ErrorCode.TYPE_MISMATCH: "type",
    ErrorCode.PROVIDER_NOT_READY: "not_ready",
}
_REASONS: Final = frozenset(reason.value for reason in Reason)


class Evaluation:
    """Asks the client, in the calling thread, for as long as the provider takes. Never raises an ``Exception``.

    A flag that turns out to be a boolean (``off`` and ``auto``) is asked as one from then on, until it is none any
    more.
    """

    def __init__(self, client: OpenFeatureClient) -> None:
        self._client = client
        self._booleans: set[str] = set()

    def __call__(self, flag: str, key: str | None, context: Mapping[str, Any]) -> FlagAnswer:
        try:
            return self._signed(self._answer(flag, EvaluationContext(targeting_key=key, attributes=dict(context))))
        except Exception:  # get_metadata() and get_provider_hooks() run outside of what the client guards
            return FlagAnswer("off", "error")

    async def on_loop(self, flag: str, key: str | None, context: Mapping[str, Any]) -> FlagAnswer:
        """The same by the provider's async methods."""
        try:
            wanted = EvaluationContext(targeting_key=key, attributes=dict(context))
            boolean = flag in self._booleans
            details = await self._details_async(flag, wanted, boolean=boolean)
            if details.error_code == ErrorCode.TYPE_MISMATCH:
                details = await self._details_async(flag, wanted, boolean=not boolean)
                self._remember(flag, details, boolean=not boolean)
            return self._signed(read(details))
        except Exception:
            return FlagAnswer("off", "error")

    def _answer(self, flag: str, context: EvaluationContext) -> FlagAnswer:
        boolean = flag in self._booleans
        details = self._details(flag, context, boolean=boolean)
        if details.error_code == ErrorCode.TYPE_MISMATCH:
            details = self._details(flag, context, boolean=not boolean)
            self._remember(flag, details, boolean=not boolean)
        return read(details)

    def _signed(self, answer: FlagAnswer) -> FlagAnswer:
        """The answer with the name of whoever gave it."""
        return replace(answer, provider=self._client.provider.get_metadata().name)

    def _remember(self, flag: str, details: FlagEvaluationDetails[Any], *, boolean: bool) -> None:
        if details.error_code is None:
            (self._booleans.add if boolean else self._booleans.discard)(flag)

    def _details(self, flag: str, context: EvaluationContext, *, boolean: bool) -> FlagEvaluationDetails[Any]:
        # The default is what a switched-off flag (flagd's DISABLED) and a no-op provider answer with.
        if boolean:
            return self._client.get_boolean_details(flag, False, context)
        return self._client.get_string_details(flag, "off", context)

    async def _details_async(
        self, flag: str, context: EvaluationContext, *, boolean: bool
    ) -> FlagEvaluationDetails[Any]:
        if boolean:
            return await self._client.get_boolean_details_async(flag, False, context)
        return await self._client.get_string_details_async(flag, "off", context)


def read(details: FlagEvaluationDetails[Any]) -> FlagAnswer:
    """An evaluation as an answer. Its error counts before its value: on a mismatch the client may hand back the
    wrong type.

    A flag that the provider does not know is ``off``, ``found=False``: a branch then inherits its rollout's, a
    rollout stays with control. (A source was bound on purpose, and has not allowed this rollout anything;
    ``status`` shows the reason.)
    """
    if details.error_code is not None:
        reason = _ERRORS.get(details.error_code, "error")
        return FlagAnswer("off", reason, found=details.error_code != ErrorCode.FLAG_NOT_FOUND)
    if isinstance(details.value, bool):
        return FlagAnswer("auto" if details.value else "off", _reason(details.reason))
    if not isinstance(details.value, str):
        return FlagAnswer("off", "type")
    if details.value not in CEILINGS:
        return FlagAnswer("off", "value")
    return FlagAnswer(details.value, _reason(details.reason))


def _reason(reason: str | None) -> str:
    named = str(reason or Reason.UNKNOWN).upper()
    return named.lower() if named in _REASONS else "other"
