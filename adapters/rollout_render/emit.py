"""One way out for every result: a table for people, or JSON for programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rollout.domain.report import Report
from rollout.errors import RolloutError
from rollout_render.clean import clean_block, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")


def emit(value: T, output: str, screen: Callable[[T], RenderableType]) -> None:
    """Print a result; ``output``: ``table`` or ``json``."""
    if output == "json":
        click.echo(to_json(value))
        return
    from rollout_render.terminal import console

    console().print(screen(value))


def document(report: Report, form: str) -> str:
    """A report as ``text``, ``json``, ``html`` or ``markdown``."""
    if form == "json":
        return to_json(report) + "\n"
    if form == "html":
        from rollout_render.page import html_report

        return html_report(report)
    if form == "markdown":
        from rollout_render.markdown import markdown_report

        return markdown_report(report)
    from rollout_render.text import text_report

    return text_report(report)


def deliver(text: str, out: Path | None) -> None:
    """Print a document, or write it whole to a file: a reader never sees half of it."""
    if out is None:
        click.echo(text, nl=False)
        return
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(out)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RolloutError(f"{out} cannot be written: {error.strerror}. Name another file.") from error
    click.echo(f"written to {out}", err=True)


def say(text: str, output: str = "table", value: Any = None) -> None:
    """A sentence about what was done; as JSON the value, or the sentence under ``done``."""
    click.echo(to_json(value if value is not None else {"done": text}) if output == "json" else clean_block(text))
