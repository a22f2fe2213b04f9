"""A form that was posted: what is asked, checked, and carried out by the verb of that name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rollout.ports import Backend
from rollout.usecases import steer
from rollout.usecases.steer import Seen, Steered

LONGEST_REASON: Final = 500
_VERBS: Final[Mapping[str, Callable[..., Awaitable[Steered]]]] = {
    "promote": steer.promote,
    "approve": steer.approve,
    "pause": steer.pause,
    "resume": steer.resume,
}


class Unclear(ValueError):
    """A form that cannot be carried out as it is; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asked for. ``branch``: None is all of them, which only a rollback may be asked for. ``seen``: None
    of a rollback, which is right whatever changed.
    """

    event: str
    branch: str | None
    reason: str
    seen: Seen | None

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Asked:
        """``Unclear`` names what is wrong."""
        event, branch = form.get("event", ""), form.get("branch", "")
        reason = " ".join(form.get("reason", "").split())
        if event != "rollback" and event not in _VERBS:
            raise Unclear(f'"{event[:40]}" is nothing to be done here. Use the buttons of the page.')
        if not reason:
            raise Unclear("A reason is missing: it goes into the audit, for those who ask later.")
        if len(reason) > LONGEST_REASON:
            raise Unclear(f"The reason has {len(reason)} characters, at most {LONGEST_REASON} are kept. Shorten it.")
        if event == "rollback":
            return cls(event=event, branch=branch or None, reason=reason, seen=None)
        try:
            seen = Seen(branch=branch, version=int(form["version"]), policy=int(form["policy"]))
        except (KeyError, ValueError):
            raise Unclear("The form does not say which version it was about. Reload the page.") from None
        return cls(event=event, branch=branch, reason=reason, seen=seen)

    async def carry_out(self, backend: Backend, rollout: str, actor: str) -> Steered:
        said: dict[str, Any] = {"reason": self.reason, "actor": actor}
        if self.event == "rollback":
            return await steer.rollback(backend, rollout, self.branch, **said)
        return await _VERBS[self.event](backend, rollout, self.branch, **said, seen=self.seen)
