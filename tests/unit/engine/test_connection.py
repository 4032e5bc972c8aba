"""What an engine reads of a batch, and what it writes: nobody gets what is another's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from headrace.engine import messages
from headrace.engine.assembly import Assembly
from headrace.engine.connection import Connection
from headrace.engine.messages import Layout
from headrace.engine.slots import Slots
from headrace.errors import BodyTooLarge, InferenceFailed
from headrace.values import Array, DType, Signature, TensorSpec

SIZES = (1, 2, 4)
FREE = Signature(
    (TensorSpec("ids", DType.INT64, (None, None)), TensorSpec("at", DType.INT64, (None, 1))),
    (TensorSpec("y", DType.INT64, (None, 1)),),
    batched=True,
)


class Pair:
    """A receiver's side and an engine's of the same slots."""

    def __init__(self, slots: Slots, channel: socket.socket, signature: Signature) -> None:
        self._assembly = Assembly(slots, signature, SIZES)
        self.connection = Connection(channel, slots, signature, SIZES)

    def job(self, *parts: tuple[Sequence[Sequence[int]], Sequence[int]]) -> Sequence[Array]:
        """Assemble a batch of so many parts, and return the inputs that would run."""
        arrays = [
            {"ids": np.array(ids, np.int64), "at": np.array(at, np.int64).reshape(-1, 1)}
            for ids, at in parts
        ]
        rows = sum(len(one["ids"]) for one in arrays)
        placed = self._assembly.place(0, rows, arrays)
        layout = messages.pack_layout(Layout(0, rows, placed))
        return list(self.connection.job(layout).inputs.values())


@pytest.fixture
def pair() -> Iterator[Pair]:
    slots, descriptor = Slots.create(1, 2**16, 2**16)
    os.close(descriptor)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Pair(slots, ours, FREE)


def test_rows_that_nobody_sent_are_such_as_the_model_can_take(pair: Pair) -> None:
    pair.job(([[7000] * 9] * 4, [8] * 4))
    for _ in range(2):
        ids, at = pair.job(([[1, 2, 3]], [2]), ([[4, 5, 6], [7, 8, 9]], [1, 0]))
        assert ids.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [7, 8, 9]]
        assert at.ravel().tolist() == [2, 1, 0, 0]
        # The same layout is looked up the second time, after others have been there.
        pair.job(([[7000] * 9] * 4, [8] * 4))


@pytest.mark.parametrize("shape", [(), (2, 1), (4, 1), (1, 3)])
def test_outputs_without_a_row_for_each_that_ran_are_nobodys(
    pair: Pair, shape: tuple[int, ...]
) -> None:
    placed = Assembly(Slots.create(1, 2**16, 64)[0], FREE, SIZES).place(
        0, 3, [{"ids": np.ones((3, 2), np.int64), "at": np.ones((3, 1), np.int64)}]
    )
    job = pair.connection.job(messages.pack_layout(Layout(0, 3, placed)))
    assert job.run_rows == 4
    right = {"y": np.arange(4).reshape(4, 1)}
    assert pair.connection.write(1, job, 0, right).frame
    if shape == (4, 1):
        return
    with pytest.raises(InferenceFailed, match=r"output 'y' has the shape .* a batch of 4 ran"):
        pair.connection.write(1, job, 0, {"y": np.zeros(shape, np.int64)})


def test_rows_that_fit_a_slot_only_unpadded_run_as_they_are(pair: Pair) -> None:
    for _ in range(2):
        long = pair.job(([[7] * 2000] * 3, [8] * 3))
        assert [array.shape for array in long] == [(4, 2000), (4, 1)]
        longer = pair.job(([[7] * 2043] * 4, [8] * 4))
        assert [array.shape for array in longer] == [(4, 2043), (4, 1)]
        longest = pair.job(([[7] * 2700] * 3, [8] * 3))
        assert [array.shape for array in longest] == [(3, 2700), (3, 1)]
        assert [array[-1, -1] for array in longest] == [7, 8]
    with pytest.raises(BodyTooLarge, match="a batch of 66000 bytes does not fit a slot of 65536"):
        pair.job(([[7] * 2750] * 3, [8] * 3))


def test_strings_are_padded_too() -> None:
    signature = Signature(
        (TensorSpec("s", DType.BYTES, (None, 2)), TensorSpec("x", DType.INT8, (None,))),
        (TensorSpec("y", DType.INT64, (None,)),),
        batched=True,
    )
    slots, descriptor = Slots.create(1, 2**12, 2**12)
    os.close(descriptor)
    words = np.array([[b"a", b"bb"], [b"c", b""], [b"d", b"eee"]], object)
    parts = [{"s": words, "x": np.arange(3, dtype=np.int8)}]
    placed = Assembly(slots, signature, SIZES).place(0, 3, parts)
    with socket.socket(socket.AF_UNIX) as channel:  # nothing is sent
        connection = Connection(channel, slots, signature, SIZES)
        job = connection.job(messages.pack_layout(Layout(0, 3, placed)))
        assert job.inputs["s"].tolist() == [*words.tolist(), [b"d", b"eee"]]
        assert job.inputs["x"].tolist() == [0, 1, 2, 2]
        assert connection.write(1, job, 0, {"y": np.arange(4)}).frame
