"""Families of histograms: hundreds of lines of a page each, of which only the numbers are new."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import Metric, Sample

from headrace.observe.histogram import Histogram

Key = tuple[str, ...]
"""What stands on one or more lines together: a name, and the values of its labels."""


class Part(NamedTuple):
    """Some lines of a page: their numbers, and who says how each line begins."""

    key: Key
    numbers: Sequence[float]
    metric: Callable[[], Metric]


class Histograms:
    """One family; ``metric`` makes of it, or of one of its histograms, what the library writes."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.name = name
        self.documentation = documentation
        self._labels = tuple(labels)
        self._found: list[tuple[tuple[str, ...], Histogram]] = []

    def add(self, values: Sequence[str], histogram: Histogram) -> None:
        """Have one more, of these labels."""
        self._found.append((tuple(values), histogram))

    def parts(self) -> Iterator[Part]:
        """Every histogram as the lines it has on a page."""
        for values, histogram in self._found:
            counts = [count for _, count in histogram.cumulative()]
            numbers = (*counts, counts[-1], histogram.total)
            yield Part(
                (self.name, *values), numbers, functools.partial(self._metric, values, histogram)
            )

    def metric(self) -> Metric:
        """All of it with every sample."""
        whole = Metric(self.name, self.documentation, "histogram")
        for values, histogram in self._found:
            whole.samples += self._metric(values, histogram).samples
        return whole

    def _metric(self, values: tuple[str, ...], histogram: Histogram) -> Metric:
        one = Metric(self.name, self.documentation, "histogram")
        labels = dict(zip(self._labels, values, strict=True))
        counts = histogram.cumulative()
        one.samples = [
            *(Sample(f"{self.name}_bucket", {**labels, "le": le}, count) for le, count in counts),
            Sample(f"{self.name}_count", labels, counts[-1][1]),
            Sample(f"{self.name}_sum", labels, histogram.total),
        ]
        return one


Family = Metric | Histograms


def parts(family: Family) -> Iterator[Part]:
    """What stands together on a page; of a family of the library each sample alone."""
    if isinstance(family, Histograms):
        yield from family.parts()
        return
    for sample in family.samples:
        key = (sample.name, *sample.labels.values())
        yield Part(key, (sample.value,), functools.partial(_alone, family, sample))


def _alone(family: Metric, sample: Sample) -> Metric:
    one = Metric(family.name, family.documentation, family.type, family.unit)
    one.samples = [sample]
    return one
