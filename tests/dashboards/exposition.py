"""What an application exposes, as the tests of dashboards and rules look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_SUFFIXES = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Sample:
    """One line. ``kind``: counter, gauge or histogram."""

    name: str
    labels: Mapping[str, str]
    value: float
    kind: str

    @property
    def family(self) -> str:
        """The metric that its line belongs to: that of a bucket is the histogram's."""
        if self.kind == "histogram":
            return next(self.name.removesuffix(suffix) for suffix in _SUFFIXES if self.name.endswith(suffix))
        return self.name

    @property
    def counts(self) -> bool:
        """Whether it only grows."""
        return self.kind != "gauge"


class Exposition:
    """The text of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [
            Sample(sample.name, sample.labels, sample.value, family.type)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]
        self.families = {sample.family for sample in self.samples}
        self._by_name: dict[str, list[Sample]] = {}
        for sample in self.samples:
            self._by_name.setdefault(sample.name, []).append(sample)

    @property
    def names(self) -> set[str]:
        return set(self._by_name)

    def labels(self, name: str) -> set[str]:
        """Every label of a metric."""
        return set().union(*(sample.labels for sample in self._by_name.get(name, ())))

    def values(self, name: str, label: str) -> set[str]:
        """Every value that a label of a metric has; without the label it has none, which is "" to Prometheus."""
        return {sample.labels.get(label, "") for sample in self._by_name.get(name, ())}

    def series(self, *, job: str, instance: str) -> Iterator[tuple[Sample, str]]:
        """Every sample with its name and labels as one text, and those that a scrape adds."""
        for sample in self.samples:
            labels = {"job": job, "instance": instance, **sample.labels}
            pairs = ", ".join(f'{label}="{value}"' for label, value in labels.items())
            yield sample, f"{sample.name}{{{pairs}}}"
