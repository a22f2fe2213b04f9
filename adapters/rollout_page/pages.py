"""The pages, made of parts: what changes while one looks is a part, the same in the page and in the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from jinja2 import FunctionLoader
from markupsafe import Markup

from rollout.domain.report import Report
from rollout.domain.state import Decision
from rollout.usecases.look import Shown, Status
from rollout_page.drawing import Drawing
from rollout_page.guests import Guest
from rollout_page.units import Unit, units_of

_TEMPLATES: Final = ("frame", "told", "live", "parts", "rollouts", "rollout", "report", "sign_in", "message")
_STYLE: Final = "report.css"
_SCRIPT: Final = "report.js"
#: The files that go with the pages, and what they are.
STATIC: Final[Mapping[str, str]] = {
    _STYLE: "text/css",
    _SCRIPT: "text/javascript",
    "page.css": "text/css",
    "page.js": "text/javascript",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a person must be told first. ``lines``: one sentence each; ``unseen``: decisions that they had not seen;
    ``typed``: the reason they gave, so that it need not be typed again; ``branch``: the one it was about."""

    tone: str
    title: str
    lines: Sequence[str]
    unseen: Sequence[Decision] = ()
    typed: str = ""
    branch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands around every page. ``guest``: who looks, None before they signed in; ``closed``: whether people sign
    in at all."""

    guest: Guest | None
    closed: bool
    notice: Notice | None = None


class Pages:
    """``drawing``: of the report, whose words and pictures these are too. ``base``: the path below which browsers find
    them, to be set before the first is asked for.
    """

    def __init__(self, drawing: Drawing) -> None:
        self._base = ""
        self._drawing = drawing
        self._templates = drawing.environment(FunctionLoader(_template))
        for name in _TEMPLATES:  # made ready now, not while the first request waits
            self._templates.get_template(f"{name}.html.j2")

    @property
    def base(self) -> str:
        return self._base

    @base.setter
    def base(self, path: str) -> None:
        self._base = self._templates.globals["base"] = path

    def static(self, name: str) -> str | None:
        """A file that goes with the pages."""
        if name == _STYLE:
            return self._drawing.report_style()
        if name == _SCRIPT:
            return self._drawing.report_script()
        return _file("static", name) if name in STATIC else None

    def rollouts_parts(self, status: Status) -> dict[str, str]:
        """What changes on the page of all rollouts, by id."""
        parts: Any = self._templates.get_template("parts.html.j2").module
        return {"rollouts": parts.rollouts(status), "recent": parts.timeline(status.recent, True)}

    def rollout_parts(self, shown: Shown, decisions: Sequence[Decision]) -> dict[str, str]:
        """What changes on the page of one rollout, by id."""
        return self._rollout_parts(shown, decisions, units_of(shown, self._drawing), None)

    def _rollout_parts(
        self, shown: Shown, decisions: Sequence[Decision], units: Sequence[Unit], notice: Notice | None
    ) -> dict[str, str]:
        parts: Any = self._templates.get_template("parts.html.j2").module
        found = {"verdict": parts.verdict(shown, units), "timeline": parts.timeline(decisions, False)}
        for unit in units:
            typed = notice.typed if notice is not None and notice.branch == unit.first.branch else ""
            found[f"unit-{unit.number}"] = parts.unit(unit)
            found[f"acts-{unit.number}"] = parts.acts(unit, shown.policy.version, typed)
        return found

    def rollouts(self, frame: Frame, status: Status) -> str:
        parts = _marked(self.rollouts_parts(status))
        return self._page("rollouts", frame, parts=parts, stream=f"{self.base}/stream")

    def rollout(self, frame: Frame, shown: Shown, decisions: Sequence[Decision], path: str) -> str:
        """``path``: the address of the rollout's page."""
        units = units_of(shown, self._drawing)
        parts = _marked(self._rollout_parts(shown, decisions, units, frame.notice))
        return self._page("rollout", frame, parts=parts, units=units, shown=shown, path=path, stream=f"{path}/stream")

    def report(self, frame: Frame, report: Report, path: str) -> str:
        article = self._drawing.report_article(report)
        return self._page("report", frame, article=article, name=report.rollout, path=path)

    def sign_in(self, frame: Frame, onward: str) -> str:
        """``onward``: where to go then."""
        return self._page("sign_in", frame, onward=onward)

    def message(self, frame: Frame) -> str:
        """A page with nothing but its notice."""
        return self._page("message", frame)

    def _page(self, template: str, frame: Frame, **content: Any) -> str:
        return self._templates.get_template(f"{template}.html.j2").render(frame=frame, **content)


def _marked(parts: Mapping[str, str]) -> dict[str, Markup]:
    """Parts are made by templates, which have escaped what they were given."""
    return {name: Markup(html) for name, html in parts.items()}


def _template(name: str) -> str:
    return _file("templates", name)


def _file(folder: str, name: str) -> str:
    return files("rollout_page").joinpath(folder, name).read_text(encoding="utf-8")
