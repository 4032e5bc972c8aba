"""What TensorFlow Serving counts, under its names, for dashboards that look for them.

Source: tensorflow_serving/servables/tensorflow/util.cc and util/prometheus_exporter.cc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from headrace.observe.histogram import Histogram

_Histograms = dict[tuple[str, ...], Histogram]  # by the values of their labels

MICROSECONDS = tuple(10 * 1.8**power for power in range(33))
"""TensorFlow Serving's bucket bounds for latencies."""

_COUNT, _REQUEST, _RUNTIME = (
    f":tensorflow:serving:{name}"
    for name in ("request_count", "request_latency", "runtime_latency")
)
# What TensorFlow Serving says of models that are run by a session; dashboards may filter by it.
_ENGINE = "TF1"


class ApiMetrics:
    """The numbers of one model, all its versions, as TensorFlow Serving's APIs asked for it.

    ``statuses`` counts requests by gRPC's names of statuses; ``requests`` has the latencies of
    those that were answered, in µs, by API and entrypoint, ``runs`` those of what they ran, by API.
    """

    __slots__ = ("requests", "runs", "statuses")

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.requests: dict[tuple[str, str], Histogram] = {}
        self.runs: dict[tuple[str, str], Histogram] = {}

    def answered(self, api: str, entrypoint: str, request_s: float, run_s: float) -> None:
        """Count a request that was answered: how long it took, and how long the model."""
        self.statuses["OK"] += 1
        _observe(self.requests, (api, entrypoint), request_s * 1e6)
        _observe(self.runs, (api, _ENGINE), run_s * 1e6)


def page(models: Mapping[str, ApiMetrics]) -> bytes:
    """Write the metrics of models by name, as TensorFlow Serving's exporter writes them."""
    lines = [f"# TYPE {_COUNT} counter"]
    for name, metrics in models.items():
        for status, count in metrics.statuses.items():
            lines.append(f"{_COUNT}{{{_pairs(('model_name', 'status'), (name, status))}}} {count}")
    requests: _Histograms = {
        (name, *key): h for name, one in models.items() for key, h in one.requests.items()
    }
    runs: _Histograms = {
        (name, *key): h for name, one in models.items() for key, h in one.runs.items()
    }
    lines += _histograms(_REQUEST, ("model_name", "API", "entrypoint"), requests)
    lines += _histograms(_RUNTIME, ("model_name", "API", "runtime"), runs)
    return "\n".join((*lines, "")).encode()


def _observe(histograms: dict[tuple[str, str], Histogram], key: tuple[str, str], us: float) -> None:
    histogram = histograms.get(key)
    if histogram is None:
        histogram = histograms[key] = Histogram(MICROSECONDS)
    histogram.observe(us)


def _histograms(name: str, labels: tuple[str, ...], found: _Histograms) -> list[str]:
    lines = [f"# TYPE {name} histogram"]
    for values, histogram in found.items():
        pairs = _pairs(labels, values)
        for bound, count in histogram.cumulative():
            limit = bound if bound == "+Inf" else f"{float(bound):g}"
            lines.append(f'{name}_bucket{{{pairs},le="{limit}"}} {count:.0f}')
        # Of six digits, a sum of days stands still.
        lines += [f"{name}_sum{{{pairs}}} {histogram.total:.15g}"]
        lines += [f"{name}_count{{{pairs}}} {sum(histogram.counts)}"]
    return lines


def _pairs(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Write labels; names of models have nothing in them that needs escaping."""
    return ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
