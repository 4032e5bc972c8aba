"""What follows on a run that failed: OpenVINO's graphs are put right before anything else runs.

A run that fails leaves its graph mixed: some nodes are set up for its shapes, others still for
those of the last run that went well. At these, or at some that agree with them in an axis, nodes
are not set up anew: the next run may fail, too, or read and write behind its memory and end the
process. So the first to run there is made up, at shapes unlike those in every free axis; where none
runs the model is compiled again. There is a graph for each stream, and nothing tells which has run
what: everybody waits while made-up runs go through all of them.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import openvino as ov
import structlog

from headrace.values import Array, TensorSpec

Shapes = tuple[tuple[int, ...], ...]
"""Those of all inputs, in order."""

# Of what the free axes beside that of the rows had, as fractions: small ones cost the least.
_SCALES = ((1, 4), (1, 3), (1, 2), (2, 1), (3, 2), (3, 1), (5, 2), (4, 1))
# So many more are tried, of sizes that none of the last had.
_OTHERS = 4
# So many of the shapes that were made up are remembered.
_MADE = 64
# What inputs are filled with: a table of one row has no place 1.
_FILLS = (1, 0)
# A run goes to the stream that has waited longest, unless the one before has not begun to wait yet.
# With three rounds and these pauses, about one in a thousand runs that failed beside another lane
# spoiled one that was good; it was one in ten.
_ROUNDS, _PAUSE_S = 3, 0.0001
# Runs as long as this that begin at once are not over before every stream has woken up for one.
_LONG_S = 0.002
# So many of the last runs of each stream are remembered: nothing tells which was the last of one.
_RECENT = 16

_log = structlog.get_logger("headrace.engine")


class Graphs:
    """The graphs of a compiled model, which is compiled ``again`` where nothing else helps."""

    def __init__(
        self,
        compiled: ov.CompiledModel,
        again: Callable[[], ov.CompiledModel],
        inputs: Sequence[TensorSpec],
        types: Sequence[ov.Type],
    ) -> None:
        self.compiled = compiled
        self.failed = 0
        """How many runs have."""
        self._again = again
        self._dtypes = [spec.dtype.numpy for spec in inputs]
        self._types = types
        self._free = [
            (number, axis)
            for number, spec in enumerate(inputs)
            for axis, dim in enumerate(spec.shape)
            if not isinstance(dim, int)
        ]
        self._streams = max(1, compiled.get_property("NUM_STREAMS"))
        self._turn = threading.Condition()
        self._running = 0
        self._mixed = False
        # With one stream it is known what ran last.
        kept = 1 if self._streams == 1 else _RECENT * self._streams
        self._recent: deque[Shapes] = deque(maxlen=kept)
        # Where graphs were put right; with several streams one may be there yet.
        self._put_right: tuple[Shapes, ...] = ()
        self._smallest: Shapes | None = None  # that ran, as far as it was looked at
        self._made: dict[Shapes, int | None] = {}  # what is to be filled in there; None: it fails

    def enter(self) -> ov.CompiledModel:
        """Return what is to be run on; ``leave`` must follow."""
        with self._turn:
            self._settle()
            self._running += 1
            return self.compiled

    def leave(self, shapes: Shapes | None) -> None:
        """A run is over: it went well at these shapes, or failed."""
        with self._turn:
            self._running -= 1
            if shapes is not None:
                self._recent.append(shapes)
                if self._mixed:
                    self._turn.notify_all()
                return
            self.failed += 1
            if self._free and (self._recent or self._put_right):
                self._mixed = True
                self._settle()

    def _settle(self) -> None:
        """Wait for the runs there are, and put the graphs right, if nobody else has meanwhile."""
        while self._mixed:
            if self._running:
                self._turn.wait()
                continue
            try:
                self._recover()
                self._mixed = False
            finally:
                self._turn.notify_all()

    def _recover(self) -> None:
        ran = next(filter(self._runs, self._unlike()), None)
        if ran is None:
            try:
                self.compiled = self._again()
            except Exception as error:  # noqa: BLE001 - or no lane would run any more
                # It goes on as it is: mostly that does.
                _log.warning("not_compiled_again", reason=str(error)[:500])
        self._recent.clear()
        self._put_right = () if ran is None else (ran,)

    def _unlike(self) -> Iterator[Shapes]:
        """Shapes that are unlike all that ran last: those that have run before, then others."""
        known = () if self._smallest is None else (self._smallest,)
        least = self._smallest = min((*self._recent, *known), key=_elements)
        before = [shapes for shapes, fill in self._made.items() if fill is not None]
        yield from filter(self._differs, sorted(before, key=_elements))
        for scale in _SCALES:
            # Of more numbers of rows than ran last one did not.
            rows_tried = range(1, 2 * (len(self._recent) + len(self._put_right)) + 2)
            others = (self._scaled(least, rows, scale) for rows in rows_tried)
            fitting = next(filter(self._differs, others), None)
            if fitting is not None and fitting not in self._made:
                yield fitting
        yield from filter(self._differs, (self._other(least, more) for more in range(_OTHERS)))

    def _other(self, shapes: Shapes, more: int) -> Shapes:
        """With the smallest sizes that none of the last had there, or so many more of them."""
        last = (*self._recent, *self._put_right)
        axes: dict[int, list[tuple[int, int]]] = {}  # those that may have to be equal
        for number, axis in self._free:
            axes.setdefault(shapes[number][axis], []).append((number, axis))
        made = [list(shape) for shape in shapes]
        for places in axes.values():
            had = {ran[number][axis] for ran in last for number, axis in places}
            size = next(
                itertools.islice((n for n in itertools.count(1) if n not in had), more, None)
            )
            for number, axis in places:
                made[number][axis] = size
        return tuple(map(tuple, made))

    def _scaled(self, shapes: Shapes, rows: int, scale: tuple[int, int]) -> Shapes:
        """Of so many rows where there are rows; axes of one size stay so."""
        times, parts = scale
        firsts = {shape[0] for shape in shapes if shape}
        batched = len(firsts) == 1 and all((n, 0) in self._free for n in range(len(shapes)))
        made = [list(shape) for shape in shapes]
        for number, axis in self._free:
            size = shapes[number][axis]
            is_row = batched and axis == 0
            made[number][axis] = rows if is_row else max(1, size * times // parts)
        return tuple(map(tuple, made))

    def _differs(self, shapes: Shapes) -> bool:
        """Whether it does from all that ran last, in every free axis and in what they make."""
        numbers = {number for number, _ in self._free}
        still = self._put_right if self._streams > 1 or not self._recent else ()
        return all(
            all(shapes[n][axis] != ran[n][axis] for n, axis in self._free)
            and all(math.prod(shapes[n]) != math.prod(ran[n]) for n in numbers)
            for ran in (*self._recent, *still)
        )

    def _runs(self, shapes: Shapes) -> bool:
        """Run at these shapes on every stream."""
        known = self._made.get(shapes)
        fills = _FILLS if known is None else (known,)
        fill = next((fill for fill in fills if self._run(shapes, fill)), None)
        if len(self._made) >= _MADE:
            del self._made[next(iter(self._made))]
        self._made[shapes] = fill
        return fill is not None

    def _run(self, shapes: Shapes, fill: int) -> bool:
        """Whether it does; an axis may have bounds, which no signature tells."""
        try:
            return self._run_all(shapes, fill)
        except (RuntimeError, TypeError, ValueError, MemoryError):
            return False

    def _run_all(self, shapes: Shapes, fill: int) -> bool:
        arrays = [np.full(*one) for one in zip(shapes, itertools.repeat(fill), self._dtypes)]
        requests = [self.compiled.create_infer_request() for _ in range(self._streams)]
        for request in requests:
            bind(request, arrays, self._types)
        if self._streams == 1:
            return _ended(requests[0].infer)
        well = _together(requests)  # builds kernels
        started_s = time.monotonic()
        well &= _together(requests)
        if time.monotonic() - started_s < _LONG_S:
            for request in requests * _ROUNDS:
                well &= _ended(request.infer)
                time.sleep(_PAUSE_S)
        return well


def bind(request: ov.InferRequest, arrays: Sequence[Array], types: Sequence[ov.Type]) -> None:
    """Give a request its inputs, which must stay where they are while it runs."""
    for index, (array, kind) in enumerate(zip(arrays, types, strict=True)):
        given = array.view(np.uint16) if kind == ov.Type.bf16 else array  # pybind knows no bfloat16
        # With a type given it shares the memory of arrays that may not be written to, too.
        request.set_input_tensor(index, ov.Tensor(given, given.shape, kind))


def _together(requests: Sequence[ov.InferRequest]) -> bool:
    """Whether all run without an error, at once."""
    began = [_ended(request.start_async) for request in requests]
    ended = [_ended(request.wait) for request, has in zip(requests, began, strict=True) if has]
    return all(began) and all(ended)


def _ended(run: Callable[[], object]) -> bool:
    """Whether it did without an error."""
    try:
        run()
    except RuntimeError:
        return False
    return True


def _elements(shapes: Shapes) -> int:
    return sum(map(math.prod, shapes))
