"""What follows on a run that failed: OpenVINO's graphs are put right before anything else runs.

A run that fails leaves its graph mixed: some nodes are set up for its shapes, others still for
those of the last run that went well. At these, or at some that agree with them in an axis, nodes
are not set up anew: the next run may fail, too, or read and write behind its memory and end the
process. So the first to run there is made up, at shapes unlike those in every free axis; where none
runs the model is compiled again. There is a graph for each stream, and nothing tells which has run
what: everybody waits while made-up runs go through all of them, and what may have run on a mixed
graph before that was known runs again.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import openvino as ov
import structlog

from headrace.engine.backends.openvino_streams import Compiled, Streams
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
# So many of the last runs of each stream are remembered: nothing tells which was the last of one.
_RECENT = 16

_log = structlog.get_logger("headrace.engine")


@dataclass
class Lane:
    """What one of those that run at the same time runs with."""

    compiled: ov.CompiledModel
    request: ov.InferRequest
    has_said: bool = True
    """Whether it is known if its run has failed; there may be none."""
    spoiled: bool = False
    """One that failed may have had the stream of its run before."""

    def is_over(self) -> bool:
        """Whether its run is over, or has not begun on a stream."""
        try:
            return bool(self.request.wait_for(0))
        except RuntimeError:  # it failed
            return True


class Graphs:
    """The graphs of a compiled model, which is compiled ``again`` where nothing else helps."""

    def __init__(
        self,
        compiled: Compiled,
        again: Callable[[], Compiled],
        inputs: Sequence[TensorSpec],
        types: Sequence[ov.Type],
    ) -> None:
        self.compiled = compiled.model
        self._again = again
        self._dtypes = [spec.dtype.numpy for spec in inputs]
        self._types = types
        self._free = [
            (number, axis)
            for number, spec in enumerate(inputs)
            for axis, dim in enumerate(spec.shape)
            if not isinstance(dim, int)
        ]
        self._streams = Streams(compiled)
        self._turn = threading.Condition()
        self._turns = 0
        self._running: dict[int, Lane] = {}  # by turn
        self._apart = 0  # are running alone, or want to
        self._lanes = 0
        self._mixed = False
        # With one stream it is known what ran last.
        number = self._streams.number
        kept = 1 if number == 1 else _RECENT * number
        self._recent: deque[Shapes] = deque(maxlen=kept)
        # Where graphs were put right; with several streams one may be there yet.
        self._put_right: tuple[Shapes, ...] = ()
        self._smallest: Shapes | None = None  # that ran, as far as it was looked at
        self._made: dict[Shapes, int | None] = {}  # what is to be filled in there; None: it fails

    def lane(self) -> Lane:
        """Make one more of those that run at the same time."""
        self._lanes += 1
        return Lane(self.compiled, self.compiled.create_infer_request())

    def run(self, lane: Lane, arrays: Sequence[Array]) -> ov.InferRequest:
        """Return what has run, with its outputs; what it raises says that it failed.

        If it may have been on a mixed graph it runs again, and alone.
        """
        shapes = tuple(array.shape for array in arrays)
        turn = self._enter(lane)
        try:
            ran = self._infer(lane, arrays)
        except BaseException as error:
            if not self._leave(turn, None) or not isinstance(error, Exception):
                raise
        else:
            if not self._leave(turn, shapes):
                return ran
        with self._alone(shapes):
            return self._infer(lane, arrays)

    def _infer(self, lane: Lane, arrays: Sequence[Array]) -> ov.InferRequest:
        if lane.compiled is not self.compiled:  # it is another since a run has failed
            lane.compiled, lane.request = self.compiled, self.compiled.create_infer_request()
        bind(lane.request, arrays, self._types)
        lane.request.infer()
        return lane.request

    def _enter(self, lane: Lane) -> int:
        with self._turn:
            while self._mixed or self._apart:
                if self._apart:
                    self._turn.wait()
                else:
                    self._settle()
            self._turns += 1
            self._running[self._turns] = lane
            lane.has_said = lane.spoiled = False
            return self._turns

    def _leave(self, turn: int, shapes: Shapes | None) -> bool:
        """A run went well at these shapes, or failed; whether another may be to blame for it."""
        with self._turn:
            mine = self._running[turn]
            mine.has_said = True
            mixes = self._note(shapes)
            # With a stream for each lane those that began before this one had others.
            crowded = self._lanes > self._streams.number
            for other, lane in self._running.items():
                lane.spoiled |= mixes and (crowded or other > turn)
            before = [other for other in self._running if crowded or other < turn]
            while any(self._is_to_say(other) for other in before):
                self._turn.wait()
            del self._running[turn]
            self._turn.notify_all()
            if mixes:
                self._settle()
            return mine.spoiled

    def _is_to_say(self, turn: int) -> bool:
        """Whether a run is over that may have failed for all that is known yet."""
        lane = self._running.get(turn)
        return lane is not None and not lane.has_said and lane.is_over()

    def _note(self, shapes: Shapes | None) -> bool:
        """Whether what has run leaves its graph mixed."""
        if shapes is not None:
            self._recent.append(shapes)
            return False
        mixes = bool(self._free and (self._recent or self._put_right))
        self._mixed |= mixes
        return mixes

    @contextmanager
    def _alone(self, shapes: Shapes) -> Iterator[None]:
        """Whoever is here runs while nobody else does."""
        with self._turn:
            self._apart += 1  # nobody begins
            ran = None
            try:
                while self._running or self._mixed:
                    if self._running:
                        self._turn.wait()
                    else:
                        self._settle()
                yield
                ran = shapes
            finally:
                self._note(ran)
                self._apart -= 1
                self._turn.notify_all()

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
                compiled = self._again()
            except Exception as error:  # noqa: BLE001 - or no lane would run any more
                # It goes on as it is: mostly that does.
                _log.warning("not_compiled_again", reason=str(error)[:500])
            else:
                self.compiled, self._streams = compiled.model, Streams(compiled)
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
        still = self._put_right if self._streams.number > 1 or not self._recent else ()
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
        """Whether it is known to; an axis may have bounds, which no signature tells."""
        try:
            return self._run_all(shapes, fill)
        except (RuntimeError, TypeError, ValueError, MemoryError, OSError):
            return False

    def _run_all(self, shapes: Shapes, fill: int) -> bool:
        arrays = [np.full(*one) for one in zip(shapes, itertools.repeat(fill), self._dtypes)]
        requests = [self.compiled.create_infer_request() for _ in range(self._streams.number)]
        for request in requests:
            bind(request, arrays, self._types)
        return self._streams.run_on_each(requests)


def bind(request: ov.InferRequest, arrays: Sequence[Array], types: Sequence[ov.Type]) -> None:
    """Give a request its inputs, which must stay where they are while it runs."""
    for index, (array, kind) in enumerate(zip(arrays, types, strict=True)):
        given = array.view(np.uint16) if kind == ov.Type.bf16 else array  # pybind knows no bfloat16
        # With a type given it shares the memory of arrays that may not be written to, too.
        request.set_input_tensor(index, ov.Tensor(given, given.shape, kind))


def _elements(shapes: Shapes) -> int:
    return sum(map(math.prod, shapes))
