"""What several dashboards share: their variables, the marks of transitions, and names of series."""

from __future__ import annotations

from typing import Final

from dashboards.source.model import Json, annotation, variable

#: The boundary of promotion: a step needs that much evidence of each gate (1/α, α = 0.05).
PROMOTE: Final = 20
#: How a run ends that was wanted, and gave neither a part nor an answer.
FAILED: Final = "error|soft_timeout|hard_timeout|rejected|short_circuited|over_budget"

JOB: Final = variable("job", "Job", "rolloutkit_build_info", "The Prometheus jobs that scrape the applications.")


def transitions(labels: str) -> list[Json]:
    """Marks where a branch moved, and red ones where it was rolled back. ``labels``: which rollouts."""

    def moved(of: str) -> str:
        total = f"rolloutkit_transitions_total{{{labels}, {of}}}"
        return f"sum by (rollout, branch, to, trigger) (increase({total}[$__rate_interval])) > 0"

    text = "{{rollout}}, by {{trigger}}"
    return [
        annotation("Transitions", "blue", moved('to!="rolled_back"'), "{{branch}} → {{to}}", text),
        annotation("Rollbacks", "red", moved('to="rolled_back"'), "{{branch}} rolled back", text),
    ]
