"""Which branches run for a call, for ``Rollout(dispatch=…)``: by its task, its risk, or how sure a classifier is of it.

Any function ``Call -> names`` does; one that returns ``Chosen(names, reason)`` has its reason counted and reported.
"""

from rollout.domain.dispatching import Chosen, by_confidence, by_risk, by_task

__all__ = ["Chosen", "by_confidence", "by_risk", "by_task"]
