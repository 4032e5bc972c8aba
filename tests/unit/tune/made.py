"""Variants that nobody has measured: runs of a fixed part and so much a row."""

from __future__ import annotations

from headrace.settings import BackendName, Precision
from headrace.tune.forecast import Forecast, Setting
from headrace.tune.measured import Measured, Point
from headrace.tune.raced import Raced
from headrace.tune.result import Tuning, in_order, make_rows
from headrace.tune.space import Candidate, LeftOut, Variant
from headrace.tune.wanted import Objective, Wanted
from headrace.tuned import Accuracy

SIZES = (1, 2, 4, 8, 16, 32)
F32 = Variant(BackendName.OPENVINO, Precision.F32, 1)
BF16 = Variant(BackendName.OPENVINO, Precision.BF16, 1)
OTHER = Variant(BackendName.ONNXRUNTIME, Precision.F32, 1)
SETTING = Setting(Objective(0.05), 2)


def measured(
    variant: Variant = F32,
    fixed_s: float = 0.002,
    each_s: float = 0.002,
    sizes: tuple[int, ...] = SIZES,
    speeds: dict[int, float] | None = None,
) -> Measured:
    points = tuple(Point(rows, (fixed_s + each_s * rows,) * 5) for rows in sizes)
    return Measured(variant, points, 4, pads=False, memory_bytes=100 * 2**20, speeds=speeds or {})


def candidate(variant: Variant = F32, instances: int = 2, max_batch: int = 8) -> Candidate:
    return Candidate(variant.backend, variant.precision, instances, variant.threads, max_batch)


def forecast(one: Candidate, rate_rps: float, p99_s: float = 0.02, knee: int = 8) -> Forecast:
    return Forecast(one, rate_rps, p99_s, 2.0, 0.1, 1.1 * rate_rps, knee)


ACCURACY = Accuracy(
    metric="top1_agreement",
    samples=64,
    labelled=False,
    top1_agreement=1.0,
    cosine=0.9997,
    max_drop=0.005,
)


def tuning(
    raced: Raced, found: list[Forecast], chosen: Candidate, wanted: Wanted | None = None
) -> Tuning:
    rows = [measured(), measured(BF16, each_s=0.001), measured(OTHER, each_s=0.003)]
    known = {row.variant: row for row in rows}
    made = make_rows(found, raced, known, {"openvino bf16": ACCURACY})
    ordered = in_order(made, chosen)
    return Tuning(
        "digits",
        wanted or Wanted(Objective(0.05), 0.005, 240.0),
        2,
        tuple(ordered),
        next(row for row in ordered if row.candidate == chosen),
        next(row for row in ordered if row.candidate == found[0].candidate),
        tuple(rows),
        raced,
        (LeftOut("torch f32", "it does not read ONNX"),),
        3,
        "64 made-up rows",
        123.4,
        7,
    )
