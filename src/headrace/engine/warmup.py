"""Warm-up: run every batch size x shape x instance before anybody waits for it, and time it.

It finds out what a file does not say: whether rows of different requests may share a run, which
free axes of outputs follow which of inputs, up to which batch size a larger batch pays.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from headrace.engine.backends.contract import Instance, Model
from headrace.engine.backends.failures import RUN_ERRORS
from headrace.engine.item_shapes import (
    Make,
    Shapes,
    check_warm_shapes,
    elements_of,
    fill_of,
    item_bytes,
    item_shapes,
    make,
)
from headrace.engine.size_search import SizeSearch
from headrace.engine.ties import tie
from headrace.engine.timing import RUNS, timed
from headrace.engine_control import Measurement
from headrace.errors import ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import Array, Signature

SIZES = (
    1,
    2,
    3,
    4,
    6,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
    96,
    128,
    192,
    256,
    384,
    512,
    768,
    1024,
    1536,
    2048,
    3072,
    4096,
)
"""Batch sizes tried: past 2 in steps of at most a half, so that padding costs at most a third."""

# Of timing; the rest of the sizes is given up. Beside others a core is free for a fraction of it.
_TOTAL_S, _TOTAL_BESIDE_S = 12.0, 4.0
# So long a size is timed again, or three runs.
_AGAIN_S = 0.03
# How much longer than its median a batch may take that still has to be answered in time; the other
# part of the objective is the wait for a lane. The scheduler reckons likewise.
_TAIL = 1.1
_SAME = 1e-2  # relative difference that arithmetic in another order may make
_SEEDS = (1, 2, 3)
_WHOLE = "iub"


@dataclass(frozen=True, slots=True)
class Warm:
    """What warm-up found out."""

    signature: Signature
    batch_sizes: tuple[int, ...]
    measurements: tuple[Measurement, ...]
    output_bytes: int
    shapes: tuple[Shapes, ...] = ()
    fill: int = 1
    alone: str = ""
    """Why requests do not share runs though the axes would let them; else empty."""
    cut_off: bool = False
    """Whether it had less time, beside others, than it took to find the largest size that pays."""

    @property
    def make(self) -> Make:
        """Makes inputs as those that it was warmed up with."""
        return partial(make, self.signature, fill=self.fill)


class Timed(NamedTuple):
    """Batch sizes that were timed: those kept, and the most output in bytes.

    ``cut_off``: the time was over before a larger one did not pay.
    """

    sizes: tuple[int, ...]
    output_bytes: int
    cut_off: bool


def warm_up(
    model: Model,
    instances: Sequence[Instance],
    settings: ModelSettings,
    progress: Callable[[str], None],
    *,
    beside: bool = False,
) -> Warm:
    """Warm every instance; in less time, and so at fewer sizes, ``beside`` others that serve.

    Raises:
        ModelLoadError: the model does not run at the shapes its card names, does not batch though
            its card says so, or takes inputs that no slot has room for.
    """
    signature, alone = find_batched(model, instances[0], settings, progress)
    known = [spec.name for spec in signature.inputs]
    for name in settings.buckets:
        if name not in known:
            progress(f"buckets name input {name!r}; the model has: {', '.join(known)}")
    shapes = item_shapes(signature, instances[0], settings)
    if not shapes:
        progress("no shape found that it runs at: name some under warm_shapes; it starts cold")
        untimed = tuple(s for s in SIZES if s <= settings.max_batch) if signature.batched else (1,)
        return Warm(signature, untimed, (), 0, alone=alone)
    sizes: tuple[int, ...] = (1,)
    points: list[Measurement] = []
    output_bytes, cut_off = 0, False
    most = largest(signature, shapes, settings)
    fill = fill_of(signature, instances[0], shapes[0])
    made = partial(make, signature, fill=fill)
    total_s = _TOTAL_BESIDE_S if beside else _TOTAL_S
    for number, item in enumerate(shapes):
        # Each has its part: only sizes at which all were timed serve.
        limit_s = total_s * (number + 1) / len(shapes)
        tried = [size for size in SIZES if size <= most]
        found, size_bytes, was_cut = time_sizes(
            made, instances[0], item, tried, settings, points, limit_s, progress
        )
        output_bytes, cut_off = max(output_bytes, size_bytes), cut_off or was_cut
        sizes = found if number == 0 else tuple(s for s in sizes if s in found)
        progress(f"timed shape {number + 1} of {len(shapes)}: batches up to {found[-1]}")
    run_everywhere(made, instances, shapes, sizes)
    kept = tuple(p for p in points if p.rows in sizes)
    tied = tie(signature, instances[0], shapes[-1], settings, fill)
    return Warm(tied, sizes, kept, output_bytes, tuple(shapes), fill, alone, beside and cut_off)


def largest(signature: Signature, shapes: Sequence[Shapes], settings: ModelSettings) -> int:
    """The largest batch that may be wanted, and that a slot has room for."""
    if not signature.batched:
        return 1
    row = max(1, *(item_bytes(signature, item) for item in shapes))
    return max(1, min(settings.max_batch, settings.slot_mib * 2**20 // row))


def time_sizes(
    made: Make,
    instance: Instance,
    item: Shapes,
    tried: Sequence[int],
    settings: ModelSettings,
    points: list[Measurement],
    limit_s: float,
    progress: Callable[[str], None],
) -> Timed:
    """Time batch sizes until a larger one does not pay, or ``limit_s`` is over.

    One that does not run ends it too: a batch axis may have a bound, which no signature tells.

    Raises:
        InferenceFailed: it does not run at the first size.
    """
    waits = _TAIL + 1 / (settings.instances or 1)
    search = SizeSearch(math.inf if settings.slo_ms is None else settings.slo_ms / 1e3 / waits)
    before_s = sum(p.median_s for p in points) * RUNS
    output_bytes, cut_off = 0, False
    for size in tried:
        inputs = made(item, size)
        try:
            outputs = instance.run(inputs)
        except RUN_ERRORS as error:
            if size == tried[0]:
                raise
            progress(f"does not run {size} rows together: {error.message}")
            break
        output_bytes = max(output_bytes, sum(a.nbytes for a in outputs.values()))
        search.add(size, timed(instance, inputs))
        if search.has_ended:
            for doubtful in search.doubtful():
                again = timed(instance, made(item, doubtful), _AGAIN_S)
                search.add(doubtful, again)
        if search.has_ended:
            break
        if before_s + search.spent_s * RUNS > limit_s:
            cut_off = size != tried[-1]
            break
    elements, kept = elements_of(item), search.kept
    points += [
        Measurement(elements=elements, rows=rows, median_s=one.median_s, p95_s=one.p95_s)
        for rows, one in kept.items()
    ]
    return Timed(tuple(kept), output_bytes, cut_off)


def run_everywhere(
    made: Make,
    instances: Sequence[Instance],
    shapes: Sequence[Shapes],
    sizes: Sequence[int],
) -> None:
    """Run each size at each shape once on every instance, all instances at once."""

    def run(instance: Instance) -> None:
        for item in shapes:
            for size in sizes:
                instance.run(made(item, size))

    with ThreadPoolExecutor(len(instances)) as pool:
        list(pool.map(run, instances))


def find_batched(
    model: Model, instance: Instance, settings: ModelSettings, progress: Callable[[str], None]
) -> tuple[Signature, str]:
    """Decide whether rows may share a run: by the card, the signature, and a try.

    Returns why they may not, too, where only the try has told; else nothing.

    Raises:
        ModelLoadError: they may not though the card says so, or it names shapes of others.
    """
    may = model.signature.batched
    if settings.batched and not may:
        raise ModelLoadError(
            "the card says batched: true, but axis 0 of some input or output is fixed"
        )
    signature = replace(model.signature, batched=may and settings.batched is not False)
    check_warm_shapes(signature, settings)  # before the try, which they would make fail
    if not signature.batched:
        return signature, ""
    shapes = item_shapes(signature, instance, settings)
    reason = _cannot_share(signature, instance, shapes[0]) if shapes else None
    if reason is None:
        return signature, ""
    if settings.batched:
        raise ModelLoadError(f"the card says batched: true, but {reason}")
    progress(f"requests do not share runs: {reason}")
    alone = replace(signature, batched=False)
    check_warm_shapes(alone, settings)
    return alone, reason


def _cannot_share(signature: Signature, instance: Instance, item: Shapes) -> str | None:
    """Run two rows together and alone; return why they may not share a run, or None.

    Numbers of classes and the like may differ by rounding, where two are as good: not every time.
    """
    reason = None
    for seed in _SEEDS:
        try:
            together, *alone = _three(instance, make(signature, item, 2, seed))
        except RUN_ERRORS as error:
            return f"two rows together fail: {error.message}"
        reason, surely = _difference(together, alone)
        if surely or reason is None:
            break
    return reason


def _three(instance: Instance, alike: dict[str, Array]) -> list[dict[str, Array]]:
    """Outputs of two rows together and of each alone.

    Integers of the rows differ where the model takes zeros beside its ones; else both are the ones,
    or the zeros.
    """
    whole = [name for name, array in alike.items() if array.dtype.kind in _WHOLE]
    for zeros in (slice(1, 2), slice(0), slice(2)) if whole else ():
        with contextlib.suppress(*RUN_ERRORS):
            return _runs(instance, alike | {name: _zeroed(alike[name], zeros) for name in whole})
    return _runs(instance, alike)


def _zeroed(array: Array, rows: slice) -> Array:
    zeroed = array.copy()
    zeroed[rows] = 0
    return zeroed


def _runs(instance: Instance, both: dict[str, Array]) -> list[dict[str, Array]]:
    rows = [{name: array[row : row + 1].copy() for name, array in both.items()} for row in range(2)]
    return [
        {name: array.copy() for name, array in instance.run(inputs).items()}
        for inputs in (both, *rows)
    ]


def _difference(
    together: Mapping[str, Array], alone: Sequence[Mapping[str, Array]]
) -> tuple[str | None, bool]:
    """How a row differs that is not alone, and whether that is sure; None: not at all."""
    for name, array in together.items():
        if array.shape[:1] != (len(alone),):
            return f"output {name!r} has shape {array.shape} for two rows", True
    found = None
    for row, outputs in enumerate(alone):
        for name, array in outputs.items():
            beside = together[name][row : row + 1]
            if array.shape[:1] != (1,):
                return f"output {name!r} has shape {array.shape} for one row", True
            if array.shape != beside.shape:
                return f"output {name!r} has shape {beside.shape} beside a neighbour", True
            if _is_other(array, beside):
                found = f"output {name!r} of a row depends on its neighbour"
                if array.dtype.kind not in _WHOLE and not array.dtype.hasobject:
                    return found, True
    return found, False


def _is_other(alone: Array, beside: Array) -> bool:
    """Whether values differ by more than rounding does, or more than a few of whole numbers."""
    if not alone.size:
        return False
    if alone.dtype.hasobject or alone.dtype.kind in _WHOLE:
        return bool(np.mean(alone != beside) > _SAME)
    with np.errstate(invalid="ignore"):  # infinities and what is no number say nothing here
        one, other = alone.astype(np.float64), beside.astype(np.float64)
        gap = np.abs(one - other)
    scale = np.abs(one[np.isfinite(one)]).max(initial=1e-6)
    return bool((gap[np.isfinite(gap)] > _SAME * scale).any())
