"""Warm-up at shapes that clients have sent to the version before, or to the engine before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from headrace.engine.backends.contract import Instance
from headrace.engine.backends.failures import RUN_ERRORS
from headrace.engine.item_shapes import Shapes, item_bytes
from headrace.engine.warmup import Warm, run_everywhere, time_sizes
from headrace.engine_control import Measurement
from headrace.settings import ModelSettings
from headrace.values import Signature

# All of them together. What is left cold costs the first client of its shape some milliseconds.
_TOTAL_S = 4.0


def warm_seen(
    warm: Warm,
    instances: Sequence[Instance],
    settings: ModelSettings,
    seen: Iterable[Shapes],
    progress: Callable[[str], None],
) -> Warm:
    """Warm up at these item shapes too, the first of them first, for some seconds at most.

    The sizes that may run stay as they are, unless none was tried before. A shape that the model
    does not take, as it is another version by now, is left out.
    """
    end_s = time.monotonic() + _TOTAL_S
    for item in _new(warm, settings, seen):
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            progress("no time left for more shapes seen in traffic")
            break
        try:
            warm = _warmed(warm, instances, settings, item, left_s, progress)
        except RUN_ERRORS as error:
            progress(f"a shape seen in traffic does not run: {error.message}")
            continue
        progress(f"warmed up at a shape seen in traffic: {_told(item)}")
    return warm


def _new(warm: Warm, settings: ModelSettings, seen: Iterable[Shapes]) -> Iterator[Shapes]:
    """Those that are not warm, and that it may take."""
    known = {_told(item) for item in warm.shapes}
    room = settings.slot_mib * 2**20
    for item in seen:
        if _takes(warm.signature, item) and _told(item) not in known:
            known.add(_told(item))
            if item_bytes(warm.signature, item) <= room:
                yield item


def _takes(signature: Signature, item: Shapes) -> bool:
    """Whether the signature allows this shape."""
    start = 1 if signature.batched else 0
    wanted = {spec.name: spec.shape[start:] for spec in signature.inputs}
    return item.keys() == wanted.keys() and all(
        len(item[name]) == len(dims)
        and all(
            not isinstance(dim, int) or dim == size
            for dim, size in zip(dims, item[name], strict=True)
        )
        for name, dims in wanted.items()
    )


def _warmed(
    warm: Warm,
    instances: Sequence[Instance],
    settings: ModelSettings,
    item: Shapes,
    limit_s: float,
    progress: Callable[[str], None],
) -> Warm:
    room = settings.slot_mib * 2**20 // max(1, item_bytes(warm.signature, item))
    sizes = [size for size in warm.batch_sizes if size <= max(1, room)]
    points: list[Measurement] = []
    found, output_bytes, _ = time_sizes(
        warm.make, instances[0], item, sizes, settings, points, limit_s, progress
    )
    run_everywhere(warm.make, instances, [item], found)
    return replace(
        warm,
        batch_sizes=warm.batch_sizes if warm.shapes else found,
        measurements=(*warm.measurements, *(p for p in points if p.rows in found)),
        output_bytes=max(warm.output_bytes, output_bytes),
        shapes=(*warm.shapes, item),
    )


def _told(item: Shapes) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(item.items()))
