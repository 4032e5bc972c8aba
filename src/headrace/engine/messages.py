"""What crosses the socket between receiver and engine: packed frames, never pickles.

One frame is one SEQPACKET message, little-endian. Tensors are described, not carried: their bytes
lie in the slot (see ``slots``) or, when outputs outgrow it, in a memory file passed with the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_ATTACH = struct.Struct("<BIQQ")  # kind, slots, input bytes, output bytes
_HEAD = struct.Struct("<BQQI")  # kind, batch, ns, receiver
_LAYOUT = struct.Struct("<IIH")  # slot, rows, tensors
_TENSOR = struct.Struct("<QQB")  # offset, bytes, rank

_ATTACHED = struct.Struct("<BIIII")  # kind, receiver, seat, seats, lanes

ATTACH, RUN, DONE, FAILED, LANES, ATTACHED, REFUSED = 1, 2, 3, 4, 5, 6, 7
HEAD_BYTES = _HEAD.size
"""How long a frame's head is. The rest, its layout, is often the same from batch to batch."""

MAX_FRAME_BYTES = 1 << 16
"""The longest frame; a model of a thousand inputs fits, and of more ``servable`` tells."""


class Attach(NamedTuple):
    """Receiver → engine, first, with the descriptor of the slots' memory file."""

    slots: int
    input_bytes: int
    output_bytes: int


class Placed(NamedTuple):
    """A tensor in shared memory: where, how much, and its shape.

    Of an input it may be more than its shape takes: room for the rows that it is padded to.
    """

    offset: int
    size_bytes: int
    shape: tuple[int, ...]


class Layout(NamedTuple):
    """Where a batch lies: its slot, its rows, and its tensors in the signature's order.

    Offsets of Run count from the slot's input area, those of Done from its output area, or from the
    start of the memory file that comes with the frame.
    """

    slot: int
    rows: int
    tensors: Sequence[Placed] = ()


class Attached(NamedTuple):
    """Engine → receiver, in answer, with the descriptors of the lanes' socket and of the board.

    ``receiver`` is what it calls itself in the heads it sends; the rest is of the board, which is
    not there where there is one receiver: its own seat, and how many seats and lanes there are.
    """

    receiver: int
    seat: int
    seats: int
    lanes: int


class Frame(NamedTuple):
    """Run (receiver → engine), Done, Failed or Refused (engine → receiver), by ``kind``.

    Refused is a batch that failed for what its inputs hold. ``ns`` is how long it took, or of Run
    how long it should take; ``receiver`` is whose Run it is, ``note`` why there are no outputs.
    """

    kind: int
    batch_id: int
    layout: Layout
    ns: int = 0
    receiver: int = 0
    note: str = ""


def pack_attach(attach: Attach) -> bytes:
    """Encode an Attach frame."""
    return _ATTACH.pack(ATTACH, *attach)


def unpack_attach(data: bytes) -> Attach:
    """Decode an Attach frame."""
    kind, slots, input_bytes, output_bytes = _ATTACH.unpack(data)
    if kind != ATTACH:
        raise ValueError(f"the first frame must be Attach, not kind {kind}")
    return Attach(slots, input_bytes, output_bytes)


def pack_attached(attached: Attached) -> bytes:
    """Encode an Attached frame."""
    return _ATTACHED.pack(ATTACHED, *attached)


def unpack_attached(data: bytes | memoryview) -> Attached:
    """Decode an Attached frame."""
    _, receiver, seat, seats, lanes = _ATTACHED.unpack_from(data)
    return Attached(receiver, seat, seats, lanes)


def pack(frame: Frame) -> bytes:
    """Encode a frame."""
    kind, batch_id, layout, ns, receiver, note = frame
    return pack_head(kind, batch_id, ns, receiver) + pack_layout(layout) + note.encode()


def unpack(data: bytes | memoryview) -> Frame:
    """Decode a frame."""
    kind, batch_id, ns, receiver = unpack_head(data)
    layout, end = unpack_layout(data[HEAD_BYTES:])
    return Frame(kind, batch_id, layout, ns, receiver, bytes(data[HEAD_BYTES + end :]).decode())


def pack_head(kind: int, batch_id: int, ns: int = 0, receiver: int = 0) -> bytes:
    """Encode the head of a frame."""
    return _HEAD.pack(kind, batch_id, ns, receiver)


def pack_lanes(count: int) -> bytes:
    """Encode how many lanes are to take batches: a head alone, with that for a batch."""
    return pack_head(LANES, count)


def unpack_head(data: bytes | memoryview) -> tuple[int, int, int, int]:
    """Decode the head of a frame: kind, batch, ns, receiver."""
    return _HEAD.unpack_from(data)


def pack_layout(layout: Layout) -> bytes:
    """Encode a layout."""
    slot, rows, tensors = layout
    parts = [_LAYOUT.pack(slot, rows, len(tensors))]
    for offset, size_bytes, shape in tensors:
        rank = len(shape)
        parts.append(_TENSOR.pack(offset, size_bytes, rank))
        if rank:
            parts.append(struct.pack(f"<{rank}q", *shape))
    return b"".join(parts)


def layout_bytes(ranks: Iterable[int]) -> int:
    """How long a packed layout of tensors of these ranks is."""
    return _LAYOUT.size + sum(_TENSOR.size + 8 * rank for rank in ranks)


def unpack_slot(data: bytes | memoryview) -> int:
    """Decode the slot of a layout alone, which may have lost its end."""
    return int(_LAYOUT.unpack_from(data)[0])


def unpack_layout(data: bytes | memoryview) -> tuple[Layout, int]:
    """Decode a layout, and say where it ends."""
    slot, rows, count = _LAYOUT.unpack_from(data)
    at, tensors = _LAYOUT.size, []
    for _ in range(count):
        offset, size_bytes, rank = _TENSOR.unpack_from(data, at)
        at += _TENSOR.size
        shape = struct.unpack_from(f"<{rank}q", data, at)
        at += 8 * rank
        tensors.append(Placed(offset, size_bytes, shape))
    return Layout(slot, rows, tensors), at
