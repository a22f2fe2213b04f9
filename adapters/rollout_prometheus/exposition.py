"""The text that Prometheus reads. Written here for the toolkit's own metrics: with fifty rollouts of ten branches
the client
library's writer holds the process for a fifth of a second, this one for a tenth of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from rollout.ports import MetricsSnapshot

from .buckets import total_of
from .collector import RolloutCollector
from .families import families
from .family import PREFIX, Family, HistogramFamily, tidy

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def exposition(source: RolloutCollector | CollectorRegistry) -> tuple[bytes, str]:
    """The body of ``/metrics`` and its content type: of the toolkit's metrics alone, or of a whole registry."""
    if isinstance(source, RolloutCollector):
        return render(source.snapshot()), CONTENT_TYPE_PLAIN_0_0_4
    return generate_latest(source), CONTENT_TYPE_PLAIN_0_0_4


def render(snapshot: MetricsSnapshot) -> bytes:
    """A snapshot in the text format, version 0.0.4."""
    lines: list[str] = []
    for family in families(snapshot):
        kind = "histogram" if isinstance(family, HistogramFamily) else family.kind
        help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {PREFIX}{family.name} {help_text}\n# TYPE {PREFIX}{family.name} {kind}\n")
        lines.extend(_histogram(family) if isinstance(family, HistogramFamily) else _simple(family))
    return "".join(lines).encode()


def _simple(family: Family) -> Iterator[str]:
    for values, value in family.rows:
        yield f"{_series(family.name, family.labels, values)} {value}\n"


def _histogram(family: HistogramFamily) -> Iterator[str]:
    for values, histogram in family.rows:
        counts = family.bounds.cumulative(histogram)
        form = _form(family.name, family.labels, values, family.bounds.labels)
        yield form % (*counts, total_of(histogram), counts[-1])


# What does not change from one scrape to the next is made once: declared names, and as many of others.
@lru_cache(maxsize=65_536)
def _series(name: str, labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = ",".join(
        f'{label}="{tidy(value).translate(_ESCAPES)}"' for label, value in zip(labels, values, strict=True)
    )
    return f"{PREFIX}{name}{{{pairs}}}" if pairs else f"{PREFIX}{name}"


@lru_cache(maxsize=16_384)
def _form(name: str, labels: tuple[str, ...], values: tuple[str, ...], bounds: tuple[str, ...]) -> str:
    """The lines of one histogram, with a place for each count, the sum and the number."""
    lines = [_series(f"{name}_bucket", (*labels, "le"), (*values, bound)) for bound in bounds]
    lines = [line.replace("%", "%%") + " %d\n" for line in lines]
    total, number = (_series(f"{name}_{part}", labels, values).replace("%", "%%") for part in ("sum", "count"))
    return "".join([*lines, f"{total} %r\n", f"{number} %d\n"])
