"""What this page needs of whoever draws the report, so that nothing is drawn, or said, in two ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from jinja2 import BaseLoader, Environment
from markupsafe import Markup

from rollout.domain.gates import Finding
from rollout.domain.report import Report
from rollout.domain.report_evidence import UnitEvidence
from rollout.domain.report_values import Point
from rollout.domain.standing import Standing


class Weighed(Protocol):
    """The evidence of one unit. ``rows``: of its gates, in the order of the drawing, the last of all together."""

    @property
    def unit(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def means(self) -> str: ...
    @property
    def step_means(self) -> str: ...
    @property
    def drawing(self) -> Markup: ...
    @property
    def rows(self) -> Sequence[Any]: ...


class Drawing(Protocol):
    """Implemented by the module that draws the report."""

    def environment(self, loader: BaseLoader) -> Environment:
        """Templates that escape, with the words of the report as filters."""
        ...

    def report_style(self) -> str:
        """The stylesheet; it holds inside of ``.rollout-report``."""
        ...

    def report_script(self) -> str:
        """What a browser may run when the report is there."""
        ...

    def report_article(self, report: Report) -> Markup:
        """The whole report as one element."""
        ...

    def gauged(self, findings: Iterable[Finding]) -> list[tuple[Finding, Markup, str]]:
        """Each finding with its gauge and its tone."""
        ...

    def weighed(self, evidence: Iterable[UnitEvidence], standings: Iterable[Standing]) -> Sequence[Weighed]:
        """The curves of each unit against their boundaries."""
        ...

    def ahead(self, branch: Standing, now: float, evidence_per_s: float | None) -> str:
        """What comes next, and when; ``""`` where nothing does. ``now``: epoch seconds, database's clock."""
        ...

    def trends(
        self, curves: Mapping[str, Sequence[Point]], left: float, right: float
    ) -> Sequence[tuple[str, Sequence[Any]]]:
        """Both sides over time, by unit; ``left`` to ``right`` in epoch seconds."""
        ...
