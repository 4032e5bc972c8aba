"""What is noted of the batches of one version: their times, padding, shapes, and a few requests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from headrace.engine.samples import Sample
from headrace.receiver.catalog import ServedModel
from headrace.receiver.run.reservoir import Reservoir
from headrace.receiver.run.sampling import sample
from headrace.receiver.run.traffic import Bucket, Traffic
from headrace.receiver.run.work import Outputs, Work
from headrace.scheduler import Batch
from headrace.values import Signature

Common = Sequence[Mapping[str, tuple[int, ...]]]
"""Item shapes by input, the most frequent first."""


class Notes:
    """Takes them; ``on_common`` hears which shapes are common when those have changed."""

    def __init__(self, served: ServedModel, on_common: Callable[[Common], None]) -> None:
        signature, profile = served.profile.signature.unwrap(), served.profile
        self._served = served
        self._on_common = on_common
        self._batched = signature.batched
        self._sizes = profile.batch_sizes if profile.pads and signature.batched else ()
        self._pads = bool(self._sizes or served.settings.buckets)
        self._traffic = Traffic() if _has_free_axes(signature) else None
        self._kept = Reservoir[Sample]() if served.settings.verify.shadow else None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The requests kept, for a version that is to take over."""
        return () if self._kept is None else self._kept.things

    def assembled(self, batch: Batch, seconds: float) -> None:
        """Note a batch that was handed to the engine, and how long writing its inputs took."""
        metrics = self._served.metrics
        if self._pads:
            self._count_padding(batch)
        metrics.assemble.observe(seconds)
        metrics.runs.assembled(batch.rows, len(batch.entries), seconds)
        metrics.rows.observe(batch.rows)

    def ran(self, batch: Batch, infer_s: float, outputs: Outputs, now_s: float) -> None:
        """Note a batch that the engine has answered."""
        metrics = self._served.metrics
        metrics.infer.observe(infer_s)
        metrics.runs.ended(batch.rows, len(batch.entries), infer_s, now_s)
        if self._traffic is not None:
            self._count(self._traffic, batch.entries[0].payload.fit.bucket, now_s)
        if self._kept is not None and self._kept.due(now_s):
            self._keep(self._kept, batch.entries[0].payload, outputs, now_s)

    def _count_padding(self, batch: Batch) -> None:
        """Count what was asked for, and what runs: rows and axes are padded."""
        metrics, rows, sizes = self._served.metrics, batch.rows, self._sizes
        run_rows = sizes[bisect_left(sizes, rows)] if sizes and rows <= sizes[-1] else rows
        metrics.run_elements += run_rows * batch.elements
        metrics.asked_elements += sum(
            [entry.rows * entry.payload.fit.asked for entry in batch.entries]
        )

    def _count(self, traffic: Traffic, bucket: Bucket, now_s: float) -> None:
        common = traffic.ran(bucket, now_s)
        if common:
            names = [spec.name for spec in self._served.profile.signature.inputs]
            self._on_common([dict(zip(names, shapes, strict=True)) for shapes in common])

    def _keep(self, kept: Reservoir[Sample], work: Work, outputs: Outputs, now_s: float) -> None:
        """Keep a copy of the request at the front of a batch."""
        row = 0 if self._batched else None
        shapes, values = work.fit.item_shapes or {}, self._served.settings.pad_values
        taken = sample(work.inputs, outputs, row, shapes, values)
        kept.put(taken, taken.size_bytes, now_s)


def _has_free_axes(signature: Signature) -> bool:
    """Whether requests may differ in more than the number of their rows."""
    start = 1 if signature.batched else 0
    return any(not isinstance(dim, int) for spec in signature.inputs for dim in spec.shape[start:])
