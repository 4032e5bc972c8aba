"""What is noted of one traced request, and its form in a file: Triton's.

Source: Triton's docs/user_guide/trace.md, "JSON Trace Output".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from headrace.receiver.tracing.plan import Plan
from headrace.values import Array, DType, Request

# A trace shows what went in and out; it is no store for tensors.
MOST_ELEMENTS = 1000
# Of one text or bytes element.
MOST_CHARACTERS = 100

_ORDER = (
    "REQUEST_START",
    "QUEUE_START",
    "COMPUTE_START",
    "COMPUTE_INPUT_END",
    "COMPUTE_OUTPUT_START",
    "COMPUTE_END",
    "REQUEST_END",
)


class Excerpt(NamedTuple):
    """The beginning of a tensor."""

    activity: str
    name: str
    elements: Array
    shape: tuple[int, ...]
    dtype: str
    truncated: bool


class Trace:
    """One request; times are those of the receiver's monotonic clock.

    A request run as several entries computes from the start of its first to the end of its last.
    """

    __slots__ = ("_stamps", "_tensors", "_times_s", "head", "plan")

    def __init__(self, plan: Plan, head: dict[str, Any]) -> None:
        self.plan = plan
        self.head = head
        self._times_s: dict[str, float] = {}
        self._stamps: list[dict[str, Any]] = []
        self._tensors: list[Excerpt] = []

    def queued(self, request: Request, now_s: float) -> None:
        """Its body has been decoded."""
        self._times_s["REQUEST_START"] = request.arrival_s
        self._times_s["QUEUE_START"] = now_s
        self._show("TENSOR_QUEUE_INPUT", request.inputs)

    def started(self, start_s: float, written_s: float) -> None:
        """One of its entries has been written to the engine."""
        self._times_s.setdefault("COMPUTE_START", start_s)
        self._times_s["COMPUTE_INPUT_END"] = written_s
        self._times_s.pop("COMPUTE_OUTPUT_START", None)  # another entry was ready before

    def ran(self, now_s: float) -> None:
        """The engine has answered one of its entries."""
        self._times_s["COMPUTE_OUTPUT_START"] = now_s

    def computed(self, outputs: Mapping[str, Array]) -> None:
        """These are the model's outputs, before the result steps."""
        self._show("TENSOR_BACKEND_OUTPUT", outputs)

    def ended(self, answered_s: float, now_s: float) -> None:
        """It has been answered, or failed, when ``answered_s`` is 0."""
        if answered_s:
            self._times_s["COMPUTE_END"] = answered_s
        self._times_s["REQUEST_END"] = now_s
        # Now, for its batch may go on after it, when it was late.
        known = [name for name in _ORDER if name in self._times_s]
        self._stamps = [{"name": name, "ns": round(self._times_s[name] * 1e9)} for name in known]

    def objects(self) -> Iterator[dict[str, Any]]:
        """Its objects of the file's array, in order."""
        identity = self.head["id"]
        yield self.head
        if self.plan.times:
            yield {"id": identity, "timestamps": self._stamps}
        for one in self._tensors:
            tensor: dict[str, Any] = {
                "name": one.name,
                "data": ",".join(_text(element) for element in one.elements),
                "shape": ",".join(map(str, one.shape)),
                "dtype": one.dtype,
            }
            if one.truncated:
                tensor["truncated"] = True
            yield {"id": identity, "activity": one.activity, "tensor": tensor}

    def _show(self, activity: str, tensors: Mapping[str, Array]) -> None:
        if not self.plan.tensors:
            return
        for name, array in tensors.items():
            # A copy of what is shown: the rest may be large, and is not ours to keep.
            elements: Array = array.flat[:MOST_ELEMENTS]
            if elements.dtype.hasobject:
                elements[:] = [element[:MOST_CHARACTERS] for element in elements]
            dtype = DType.of(array.dtype).value
            truncated = array.size > MOST_ELEMENTS
            self._tensors.append(Excerpt(activity, name, elements, array.shape, dtype, truncated))


def _text(element: Any) -> str:
    if isinstance(element, bytes):
        return element.decode("utf-8", "backslashreplace")
    if isinstance(element, np.bool_):
        return str(int(element))
    return str(element)
