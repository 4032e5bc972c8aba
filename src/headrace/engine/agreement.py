"""How far the answers of one model are from another's, to the same requests.

Pure. Floats: the root mean square of the difference within a request, as a part of that of the
answer. So a scale that has changed is seen as well as a direction. An answer that is smaller than
the usual one, the median of all requests, is measured by that: else a little noise around zero
would be an endless difference. Everything else: the part of the elements that are equal, over all
requests.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from headrace.values import Array, DType, Signature, TensorSpec
from headrace.verify import Verify

_FLOATS = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})

# 1 - 0.9 is a little less than 0.1.
_ROUNDING = 1e-9

Outputs = Mapping[str, Array]


class Gap(NamedTuple):
    """How far one output is off: of floats the most in any request, else the unequal part.

    ``off`` counts the requests in which it is further off than is allowed.
    """

    output: str
    floats: bool
    size: float
    off: int


def gaps(before: Sequence[Outputs], after: Sequence[Outputs], verify: Verify) -> list[Gap]:
    """Compare answers, the same number of each, with names and dtypes and shapes in common."""
    return [
        _gap(name, [(a[name], b[name]) for a, b in zip(before, after, strict=True)], verify)
        for name in (before[0] if before else ())
    ]


def is_beyond(gap: Gap, verify: Verify) -> bool:
    """Whether an output is further off than is allowed."""
    return gap.size > (verify.difference if gap.floats else 1 - verify.equal + _ROUNDING)


def told(gap: Gap) -> str:
    """How far an output is off, for people: a size with its unit."""
    if not math.isfinite(gap.size):
        return "not a number, or infinite"
    share = f"{gap.size * 100:.3g} %"
    return f"{share} of its size" if gap.floats else f"{share} of its elements"


def changed(inputs: Mapping[str, Array], signature: Signature) -> str | None:
    """Why a model cannot take inputs that another has taken, or None."""
    for name, array in inputs.items():
        spec = signature.input(name)
        if spec is None:
            return f"it has no input {name!r}"
        if DType.of(array.dtype) is not spec.dtype or not _fits(array.shape, spec):
            return f"its input {name!r} is {_spec(spec)}, and a request had {_kind(array)}"
    for spec in signature.inputs:
        if spec.name not in inputs:
            return f"it also wants an input {spec.name!r}"
    return None


def unlike(before: Outputs, after: Outputs) -> str | None:
    """Why two answers cannot be compared, or None."""
    for name, array in before.items():
        other = after.get(name)
        if other is None:
            return f"it has no output {name!r}"
        if _kind(other) != _kind(array):
            return f"its output {name!r} is {_kind(other)}, and was {_kind(array)}"
    return None


def _gap(name: str, pairs: Sequence[tuple[Array, Array]], verify: Verify) -> Gap:
    if DType.of(pairs[0][0].dtype) in _FLOATS:
        sizes = _differences([(_wide(a), _wide(b)) for a, b in pairs])
        off = sum(size > verify.difference for size in sizes)
        return Gap(name, floats=True, size=max(sizes), off=off)
    unequal = [int(np.count_nonzero(np.asarray(a != b, bool))) for a, b in pairs]
    total = sum(a.size for a, _ in pairs)
    share = sum(unequal) / total if total else 0.0
    return Gap(name, floats=False, size=share, off=sum(count > 0 for count in unequal))


def _differences(pairs: Sequence[tuple[Array, Array]]) -> list[float]:
    """How far each pair is apart, as a part of the size of the first of it, or of the usual one."""
    sizes = [_size(a[np.isfinite(a)]) for a, _ in pairs]
    some = [size for size in sizes if size > 0]
    usual = statistics.median_low(some) if some else 0.0
    return [_difference(a, b, max(size, usual)) for (a, b), size in zip(pairs, sizes, strict=True)]


def _difference(a: Array, b: Array, size: float) -> float:
    same = (a == b) | (np.isnan(a) & np.isnan(b))  # infinities too, whose difference is no number
    if same.all():
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        apart = _size(np.subtract(a, b, out=np.zeros_like(a), where=~same))
    return apart / size if size > 0 and math.isfinite(apart) else math.inf


def _size(values: Array) -> float:
    """The root mean square, of numbers of any size."""
    most = float(np.abs(values).max(initial=0.0))
    if most == 0 or not math.isfinite(most):
        return most
    return most * math.sqrt(float(np.mean(np.square(values / most))))


def _wide(array: Array) -> Array:
    return array.astype(np.float64)


def _fits(shape: Sequence[int], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(spec.shape, shape, strict=True)
    )


def _kind(array: Array) -> str:
    return f"{DType.of(array.dtype).value} {list(array.shape)}"


def _spec(spec: TensorSpec) -> str:
    return f"{spec.dtype.value} {list(spec.wire_shape)}"
