"""A page in Prometheus' text format, written by the thread that answers requests: fast, in parts.

``prometheus_client`` makes every line anew: 20 µs each, and a model has 350 of them. Here it makes
a line once; on the pages after that only the number is new.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString

from headrace.observe.families import Family, Histograms, Key, parts

# The library does not say so.
_go_number: Callable[[float], str] = floatToGoString
# From here on Go has exponents; up to there it writes what Python does.
_GO_EXPONENT = 1e6
Begins = tuple[str, ...]
"""Lines that stand together, without their numbers."""


class Page:
    """One page; ``known`` are the lines of an earlier one, without their numbers.

    What says part of a family may come in any order: a family is together on the page.
    """

    def __init__(self, known: Mapping[Key, Begins]) -> None:
        self.lines: dict[Key, Begins] = {}
        """The lines of this page, without their numbers, for the next one."""
        self._known = known
        self._families: dict[str, list[str]] = {}

    def add(self, families: Iterable[Family]) -> None:
        """Write what these say now."""
        for family in families:
            written = self._families.get(family.name)
            if written is None:
                written = self._families[family.name] = [_head(*_described(family))]
            for part in parts(family):
                begins = self._known.get(part.key)
                if begins is None:
                    begins = _begins(part.metric())
                self.lines[part.key] = begins
                written += map("{} {}\n".format, begins, map(_number, part.numbers))

    def text(self) -> str:
        """The whole page."""
        return "".join("".join(lines) for lines in self._families.values())


def _number(value: float) -> str:
    value = float(value)
    return repr(value) if 0 <= value < _GO_EXPONENT else _go_number(value)


class _Registry:
    """The one family that is to be written."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        yield self._family


def _written(family: Metric) -> list[str]:
    return generate_latest(_Registry(family)).decode().split("\n")[:-1]


def _described(family: Family) -> tuple[str, str, str, str]:
    if isinstance(family, Histograms):
        return family.name, family.documentation, "histogram", ""
    return family.name, family.documentation, family.type, family.unit


@functools.cache  # there are some thirty, and their number does not grow
def _head(name: str, documentation: str, type_: str, unit: str) -> str:
    return "".join(f"{line}\n" for line in _written(Metric(name, documentation, type_, unit)))


def _begins(family: Metric) -> Begins:
    """Every line of some of a family up to its number."""
    lines = [line for line in _written(family) if not line.startswith("#")]
    return tuple(line.rpartition(" ")[0] for line in lines)
