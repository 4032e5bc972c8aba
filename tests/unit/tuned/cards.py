"""Tuned cards to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.settings import BackendName, Precision
from headrace.tuned import (
    Accuracy,
    Evidence,
    Fingerprint,
    Objective,
    Tuned,
    TunedSettings,
    digest,
    fingerprint,
    place,
    write,
)

MACHINE = Fingerprint(
    processor="Example 9000",
    cores=2,
    features=("avx2", "avx512f", "amx_bf16"),
    memory_bytes=8 << 30,
    libraries={"openvino": "2026.4.1", "onnxruntime": "1.32.0"},
)
SETTINGS = TunedSettings(
    backend=BackendName.OPENVINO, precision=Precision.BF16, instances=2, threads=1, max_batch=8
)


def tuned(machine: Fingerprint = MACHINE, **changes: Any) -> Tuned:
    made = Tuned(
        model_digest="sha256:0",
        fingerprint=machine,
        settings=SETTINGS,
        objective=Objective(slo_ms=50),
        evidence=Evidence(highest_rate_rps=420.5, p99_s=0.041, made_at="2026-11-27T09:00:00Z"),
        accuracy=Accuracy(metric="top1_agreement", samples=256, labelled=False, cosine=0.9996),
    )
    return made.model_copy(update=changes)


def put(model: Path, settings: TunedSettings = SETTINGS, **changes: Any) -> Path:
    """Write the tuned card that holds for a model file on this machine."""
    path = place(model)
    made = tuned(fingerprint(), settings=settings, model_digest=digest(model))
    write(path, made.model_copy(update=changes))
    return path
