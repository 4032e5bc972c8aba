"""A model's configuration in Triton's words: what is true of it here, and nothing made up.

Source: triton-inference-server/common protobuf/model_config.proto.
"""

from __future__ import annotations

from typing import Any

from headrace.device import gpu_index
from headrace.receiver.catalog import ServedModel
from headrace.values import DType, TensorSpec

_TYPES = {dtype: f"TYPE_{dtype.value}" for dtype in DType} | {DType.BYTES: "TYPE_STRING"}


def describe(served: ServedModel) -> dict[str, Any]:
    """The ``ModelConfig`` of a version, as its protobuf's JSON has it.

    ``dims`` are without the batch axis, unlike the shapes of the metadata.
    """
    profile, batched = served.profile, served.signature.batched
    largest = max(profile.batch_sizes, default=1) if batched else 0
    config: dict[str, Any] = {
        "name": served.name,
        "platform": f"{profile.backend}_{profile.precision}",
        "backend": profile.backend,
        "version_policy": {"all": {}},
        "max_batch_size": largest,
        "input": [_tensor(spec, batched=batched) for spec in served.signature.inputs],
        "output": [_tensor(spec, batched=batched) for spec in served.signature.outputs],
        "instance_group": [_instances(served)],
        "parameters": {name: {"string_value": text} for name, text in _parameters(served).items()},
        "model_transaction_policy": {"decoupled": False},
    }
    if batched:
        config["dynamic_batching"] = {"preferred_batch_size": list(profile.batch_sizes)}
    return config


def _instances(served: ServedModel) -> dict[str, Any]:
    profile, gpu = served.profile, gpu_index(served.profile.device)
    where = {"kind": "KIND_CPU"} if gpu is None else {"kind": "KIND_GPU", "gpus": [gpu]}
    return {"name": f"{served.name}_0", "count": profile.instances} | where


def _tensor(spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    dims = spec.wire_shape[1:] if batched else spec.wire_shape
    return {"name": spec.name, "data_type": _TYPES[spec.dtype], "dims": list(dims)}


def _parameters(served: ServedModel) -> dict[str, str]:
    settings, profile = served.settings, served.profile
    found = {"precision": profile.precision, "threads": str(profile.threads)}
    if settings.slo_ms is not None:
        found["slo_ms"] = f"{settings.slo_ms:g}"
    return found
