"""What crosses the socket between the receiver and the scribe: frames, never pickles.

One frame is one SEQPACKET message, little-endian. A job comes with the memory file of its body; the
answer is written behind the body, and its frame says where.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from headrace.codes import rebuild
from headrace.engine.slots import align, pack_bytes, tensor, unpack_bytes
from headrace.engine_control import SignatureMessage
from headrace.errors import HeadraceError, InvalidInput
from headrace.message import Message
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import Decoded, Dialect
from headrace.values import Array, DType

Place = tuple[str | int, ...]
"""Keys and numbers that lead to a value in a body."""

MAX_FRAME_BYTES = 64
"""The longest frame: whatever may be long is in the memory file."""

MOST_REST_BYTES = 2**18
"""Of a body without its tensors, which is parsed on the event loop; names and shapes fit."""

_JOB = struct.Struct("<QQQBB")  # job, bytes of what comes with it, of the text, task, dialect
_ANSWER = struct.Struct("<QQQ")  # job, where the answer stands, its bytes


class Task(IntEnum):
    """What the scribe does; a number, for it crosses a process border."""

    DECODE = 1
    ENCODE = 2


class Job(NamedTuple):
    """Receiver → scribe, with the memory file whose first ``size_bytes`` it is about.

    The text behind them is a ``SignatureMessage``, or none where the body says what its tensors
    are; or an ``AnswerHead``. Either may be as long as a model has names and a client's id letters.
    """

    number: int
    size_bytes: int
    text_bytes: int
    task: Task
    dialect: Dialect

    @property
    def end(self) -> int:
        """Where the answer may begin."""
        return self.size_bytes + self.text_bytes

    def pack(self) -> bytes:
        """Encode the frame."""
        return _JOB.pack(*self)

    @classmethod
    def unpack(cls, frame: bytes) -> Job:
        """Decode the frame."""
        number, size_bytes, text_bytes, task, dialect = _JOB.unpack(frame)
        return cls(number, size_bytes, text_bytes, Task(task), Dialect(dialect))


class Answer(NamedTuple):
    """scribe → receiver: where the report of a job stands in its memory file."""

    number: int
    offset: int
    size_bytes: int

    def pack(self) -> bytes:
        """Encode the frame."""
        return _ANSWER.pack(*self)

    @classmethod
    def unpack(cls, frame: bytes) -> Answer:
        """Decode the frame."""
        number, offset, size_bytes = _ANSWER.unpack(frame)
        return cls(number, offset, size_bytes)


AWAKE = Answer(0, 0, 0)
"""The first frame of a scribe, which answers no job: from now on it works."""


class Fault(Message):
    """A typed error: its code in the tree, and its words."""

    code: str
    message: str

    @classmethod
    def of(cls, error: HeadraceError) -> Fault:
        """Wrap an error."""
        return cls(code=error.code, message=error.message)

    def unwrap(self) -> HeadraceError:
        """Return the error."""
        return rebuild(self.code, self.message)


class Lying(Message):
    """A tensor in the memory file."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class Reading(Message):
    """How the classes or values of so many examples are read from outputs.

    ``classes`` and ``scores`` are outputs, ``labels`` the card's; a value has one output alone.
    """

    examples: int
    classes: str | None = None
    scores: str | None = None
    labels: tuple[str, ...] = ()


class AnswerHead(Message):
    """What an answer says beside its outputs, and where those are."""

    model: str
    version: int
    id: str = ""
    rows: bool = False
    reading: Reading | None = None
    outputs: tuple[Lying, ...] = ()


class Part(Message):
    """Tensors of one place in the body, or why there are none."""

    place: Place
    tensors: tuple[Lying, ...] = ()
    fault: Fault | None = None


class Report(Message):
    """What became of a body: its tensors, and the rest of it as JSON; or why it is none.

    Of an answer that was encoded the rest is all.
    """

    parts: tuple[Part, ...] = ()
    rest_offset: int = 0
    rest_bytes: int = 0
    fault: Fault | None = None


def signature_text(signature: SignatureMessage | None) -> bytes:
    """Write a signature for ``Job``."""
    return b"" if signature is None else signature.model_dump_json().encode()


def put_text(descriptor: int, size_bytes: int, text: bytes) -> None:
    """Write the text of a job behind what it is about.

    Raises:
        OSError: there is no memory.
    """
    _put(descriptor, text, size_bytes)


def write(descriptor: int, size_bytes: int, body: dict[str, Any] | HeadraceError) -> Answer:
    """Write a decoded body behind the ``size_bytes`` of its job; return all but the number.

    Raises:
        OSError: there is no memory.
    """
    end = align(size_bytes)
    if isinstance(body, HeadraceError):
        report = Report(fault=Fault.of(body))
    else:
        parts = []
        for place, decoded in list(_places(body)):
            lying, end = put_tensors(descriptor, decoded.tensors, end)
            fault = None if decoded.error is None else Fault.of(decoded.error)
            parts.append(Part(place=place, tensors=lying, fault=fault))
            _at(body, place)[place[-1]] = None
        report, end = _report(descriptor, _dumps(body), parts, end)
    return _put_report(descriptor, report, end)


def write_answer(descriptor: int, size_bytes: int, body: bytes | HeadraceError) -> Answer:
    """Write an encoded answer behind the ``size_bytes`` of its job; return all but the number.

    Raises:
        OSError: there is no memory.
    """
    if isinstance(body, HeadraceError):
        return _put_report(descriptor, Report(fault=Fault.of(body)), size_bytes)
    report = Report(rest_offset=size_bytes, rest_bytes=len(body))
    return _put_report(descriptor, report, _put(descriptor, body, size_bytes))


def read_report(text: bytes) -> Report:
    """Read a report.

    Raises:
        HeadraceError: it tells of one.
    """
    report = Report.model_validate_json(text)
    if report.fault is not None:
        raise report.fault.unwrap()
    return report


def put_tensors(
    descriptor: int, tensors: Mapping[str, Array], offset: int
) -> tuple[tuple[Lying, ...], int]:
    """Write tensors from an offset on; return where they lie, and where the next may.

    Raises:
        OSError: there is no memory.
    """
    lying = []
    for name, array in tensors.items():
        data = _raw(array)
        lying.append(_lying(name, array, offset, len(data)))
        offset = align(_put(descriptor, data, offset))
    return tuple(lying), offset


def view_tensors(area: memoryview, lying: Sequence[Lying]) -> dict[str, Array]:
    """View tensors where they lie."""
    return {one.name: _view(area, one) for one in lying}


def read(area: memoryview, answer: Answer) -> dict[str, Any]:
    """Read what ``write`` wrote; tensors are views of the area.

    Raises:
        HeadraceError: the body is none.
    """
    report = read_report(bytes(area[answer.offset : answer.offset + answer.size_bytes]))
    body = json_tensor.parse(area[report.rest_offset : report.rest_offset + report.rest_bytes])
    for part in report.parts:
        tensors = view_tensors(area, part.tensors)
        error = None if part.fault is None else part.fault.unwrap()
        _at(body, part.place)[part.place[-1]] = Decoded(tensors, error)
    return body


def _places(body: dict[str, Any]) -> Iterator[tuple[Place, Decoded]]:
    """Find what is decoded: at the top, or in a tensor of ``inputs``."""
    for key, value in body.items():
        if isinstance(value, Decoded):
            yield (key,), value
    inputs = body.get("inputs")
    for number, one in enumerate(inputs if isinstance(inputs, list) else ()):
        if isinstance(one, dict) and isinstance(one.get("data"), Decoded):
            yield ("inputs", number, "data"), one["data"]


def _at(body: Any, place: Place) -> Any:
    """Whatever holds the value at this place."""
    for step in place[:-1]:
        body = body[step]
    return body


def _raw(array: Array) -> bytes | memoryview:
    if array.dtype.hasobject:
        return pack_bytes(array)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _lying(name: str, array: Array, offset: int, size_bytes: int) -> Lying:
    dtype = DType.of(array.dtype)
    return Lying(name=name, dtype=dtype, shape=array.shape, offset=offset, size_bytes=size_bytes)


def _view(area: memoryview, lying: Lying) -> Array:
    if lying.dtype is DType.BYTES:
        return unpack_bytes(area[lying.offset : lying.offset + lying.size_bytes], lying.shape)
    return tensor(area, lying.offset, lying.dtype, lying.shape)


def _put(descriptor: int, data: bytes | memoryview, offset: int) -> int:
    """Write all of it, and say where it ends."""
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, offset)
        offset += written
        left = left[written:]
    return offset


def _report(descriptor: int, rest: bytes, parts: list[Part], offset: int) -> tuple[Report, int]:
    """Report a decoded body, and write what is left of it; say where that ends."""
    if len(rest) > MOST_REST_BYTES:
        words = (
            f"the body without its tensors has {len(rest)} bytes: names, shapes and parameters "
            f"may have {MOST_REST_BYTES}"
        )
        return Report(fault=Fault.of(InvalidInput(words))), offset
    report = Report(parts=tuple(parts), rest_offset=offset, rest_bytes=len(rest))
    return report, _put(descriptor, rest, offset)


def _put_report(descriptor: int, report: Report, offset: int) -> Answer:
    text = report.model_dump_json().encode()
    _put(descriptor, text, offset)
    return Answer(0, offset, len(text))


def _dumps(rest: dict[str, Any]) -> bytes:
    # Unlike orjson it keeps NaN; as a rule it is asked for a few names and numbers.
    return json.dumps(rest, default=_plain).encode()


def _plain(value: Any) -> Any:
    """A list of numbers that belongs to no input."""
    return value.tolist()
