"""How small and how large TensorRT is told that inputs are: one engine serves all sizes between."""

from __future__ import annotations

from typing import NamedTuple

import structlog

from headrace.errors import ModelLoadError
from headrace.normalise import plan
from headrace.settings import ModelSettings
from headrace.values import Signature, TensorSpec

_log = structlog.get_logger("headrace.engine")

# ONNX Runtime reads `name:1x3,name:1x8`, and knows no quotes.
_DELIMITERS = frozenset(":,")


class _Bounds(NamedTuple):
    least: int
    most: int


def profiles(settings: ModelSettings, signature: Signature) -> dict[str, str]:
    """The options of ONNX Runtime that say so; none for a model without free axes.

    Raises:
        ModelLoadError: nobody says how large an axis may be.
    """
    if all(isinstance(dim, int) for spec in signature.inputs for dim in spec.shape):
        return {}
    unsayable = [spec.name for spec in signature.inputs if _DELIMITERS & set(spec.name)]
    if unsayable:
        # It builds an engine for the sizes that it has seen, and another at each that is beyond.
        _log.warning("no_profiles", inputs=unsayable, fix="rename them, without colons and commas")
        return {}
    bounds = _of_inputs(settings, signature)
    least = _text({name: [one.least for one in axes] for name, axes in bounds.items()})
    most = _text({name: [one.most for one in axes] for name, axes in bounds.items()})
    # It is made fastest for the largest: small batches have time anyhow.
    return {
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": most,
        "trt_profile_max_shapes": most,
    }


def _text(shapes: dict[str, list[int]]) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())


def _of_inputs(settings: ModelSettings, signature: Signature) -> dict[str, list[_Bounds]]:
    """Of each axis of the model's inputs; cards speak of them as clients send them."""
    seen, steps = plan(signature, settings.normalise)
    batched = signature.batched and settings.batched is not False
    found = {
        spec.name: [
            _bounds(settings, spec, axis, batched=batched) for axis in range(len(spec.shape))
        ]
        for spec in seen.inputs
    }
    for step in steps:
        if step.moved_to is not None:
            axes = found[step.name]
            axes.insert(step.moved_to, axes.pop())
    return found


def _bounds(settings: ModelSettings, spec: TensorSpec, axis: int, *, batched: bool) -> _Bounds:
    dim, name = spec.shape[axis], spec.name
    if isinstance(dim, int):
        return _Bounds(dim, dim)
    if axis == 0 and batched:
        return _Bounds(1, settings.max_batch)
    from_end = len(spec.shape) - axis  # of a shape without the batch axis it is the same
    sizes = list(settings.buckets.get(name, {}).get(axis, ()))
    shapes = settings.warm_shapes.get(name, ())
    sizes += [shape[-from_end] for shape in shapes if len(shape) >= from_end]
    if not (sizes or axis):
        sizes = [1, settings.max_batch]  # nobody says more: as if its requests shared batches
    if not sizes:
        raise ModelLoadError(
            f"axis {axis} of input {name!r} may be of any size, and TensorRT wants to know which: "
            "name its sizes under `buckets` or `warm_shapes`"
        )
    return _Bounds(min(sizes), max(sizes))
