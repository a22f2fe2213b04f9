"""One way out for every result: a table for people, or JSON for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

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


def say(text: str, output: str = "table", value: Any = None) -> None:
    """A sentence about what was done; as JSON the value, or the sentence under ``done``."""
    click.echo(to_json(value if value is not None else {"done": text}) if output == "json" else clean_block(text))
