"""One lane of a PyTorch program on a GPU: copy in, compute, copy out, on a stream of its own.

Inputs are copied from where they lie, which is pinned memory in an engine, to buffers that a
captured graph reads; the outputs of the graph are copied to pinned memory. Nothing waits between
these steps but the GPU; the thread sleeps until all of them are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import structlog
import torch

from headrace.engine.backends.failures import RUN_ERRORS, failure
from headrace.engine.backends.torch_captures import Captures, Shapes, Step
from headrace.engine.backends.torch_edges import Edges, Release
from headrace.engine.backends.torch_tensors import Program, explain, to_array, to_view
from headrace.errors import InferenceFailed
from headrace.values import Array

_log = structlog.get_logger("headrace.engine")

Compute = Callable[[], Sequence[torch.Tensor]]


class Gpu(Protocol):
    """What a lane asks of its GPU: ``torch_cuda.Cuda``; tests have a double."""

    @property
    def device(self) -> torch.device:
        """Which it is."""

    def working(self) -> AbstractContextManager[object]:
        """What is asked for inside goes to the lane's own stream."""

    def in_turn(self) -> AbstractContextManager[object]:
        """What is asked for inside begins when the lane beside has computed."""

    def capture(self, compute: Compute) -> tuple[Callable[[], None], Sequence[torch.Tensor]]:
        """Make a graph of a computation; return what replays it, and the outputs it writes to."""

    def host(self, like: torch.Tensor) -> torch.Tensor:
        """Pinned memory for a tensor."""

    def wait(self) -> None:
        """Sleep until everything asked for is done."""

    def free_bytes(self) -> int:
        """How much memory is free there."""

    def check(self) -> None:
        """End the process if it has lost the GPU, as after a fault in a kernel."""

    def pin(self, areas: Sequence[memoryview]) -> Release:
        """Let it copy from these areas by itself; the end of that is returned."""

    def beside(self) -> Gpu:
        """The same with another stream, which computes in turn with this one."""


class Captured(NamedTuple):
    """A graph, the buffers it reads and writes, and where its outputs go in pinned memory."""

    inputs: Sequence[torch.Tensor]
    replay: Callable[[], None]
    outputs: Sequence[torch.Tensor]
    answers: Sequence[torch.Tensor]


class TorchLane:
    """One lane over the shared program."""

    def __init__(
        self, program: Program, gpu: Gpu, captures: Callable[[], Captures], edges: Edges
    ) -> None:
        self._program = program
        self._gpu = gpu
        self._edges = edges
        self._new_captures = captures
        self._captures = captures()
        self._captured: dict[Shapes, Captured] = {}

    def beside(self) -> TorchLane:
        """Another lane, which copies while this one computes."""
        return TorchLane(self._program, self._gpu.beside(), self._new_captures, self._edges)

    def pin(self, areas: Sequence[memoryview]) -> Release:
        """Have inputs copied from these areas without a detour."""
        used = [area for area in areas if len(area)]
        return self._edges.of(used, self._gpu.pin(used))

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        signature = self._program.signature
        try:
            with torch.inference_mode(), self._gpu.working():
                given = [self._uncut(to_view(inputs[spec.name], spec)) for spec in signature.inputs]
                found = self._run(given)
        except RUN_ERRORS:
            raise
        except torch.OutOfMemoryError as error:
            raise InferenceFailed(
                f"the GPU has no memory left for this batch: lower max_batch ({explain(error)})"
            ) from error
        except Exception as error:  # torch raises RuntimeError, AssertionError and its own
            self._gpu.check()
            raise failure(explain(error)) from error
        pairs = zip(signature.outputs, found, strict=True)
        return {spec.name: to_array(tensor, spec) for spec, tensor in pairs}

    def _uncut(self, tensor: torch.Tensor) -> torch.Tensor:
        """What may be copied from: of a batch larger than any of the warm-up, not where it lies."""
        cut = self._edges.cut(tensor.data_ptr(), tensor.numel() * tensor.element_size())
        return tensor.clone() if cut else tensor

    def _run(self, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        shapes = tuple(tuple(tensor.shape) for tensor in given)
        step = self._captures.step(shapes, self._gpu.free_bytes)
        if step is Step.CAPTURE:
            step = self._capture(shapes, given)
        if step is Step.EAGER:
            return self._run_eagerly(given)
        captured = self._captured[shapes]
        for tensor, buffer in zip(given, captured.inputs, strict=True):
            buffer.copy_(tensor, non_blocking=True)
        with self._gpu.in_turn():
            captured.replay()
        return self._fetch(captured.outputs, captured.answers)

    def _run_eagerly(self, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        there = [tensor.to(self._gpu.device, non_blocking=True) for tensor in given]
        with self._gpu.in_turn():
            found = self._compute(there)
        return self._fetch(found, [self._gpu.host(tensor) for tensor in found])

    def _fetch(
        self, outputs: Sequence[torch.Tensor], answers: Sequence[torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        for output, answer in zip(outputs, answers, strict=True):
            answer.copy_(output, non_blocking=True)
        self._gpu.wait()
        return answers

    def _compute(self, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        return [output.detach().contiguous() for output in self._program.run(given)]

    def _capture(self, shapes: Shapes, given: Sequence[torch.Tensor]) -> Step:
        """Make a graph for these shapes; a program that cannot be captured runs without for ever.

        Shapes for which there is no memory run without; smaller ones may have graphs.

        Raises:
            Exception: the program does not run with these inputs at all.
        """
        buffers = [tensor.to(self._gpu.device, non_blocking=True, copy=True) for tensor in given]
        # Libraries choose their ways and take their memory now; and what does not run is told.
        self._compute(buffers)
        try:
            replay, outputs = self._gpu.capture(lambda: self._compute(buffers))
        except Exception as error:  # noqa: BLE001 - whatever it is: it runs without
            if _is_of_memory(error):
                self._captures.leave(shapes)
            else:
                self._captures.stop()
            _log.warning("not_captured", shapes=shapes, reason=explain(error))
            return Step.EAGER
        answers = [self._gpu.host(output) for output in outputs]
        self._captured[shapes] = Captured(buffers, replay, outputs, answers)
        self._captures.keep(shapes)
        return Step.REPLAY


def _is_of_memory(error: Exception) -> bool:
    """Whether there was no room, also where the capture could not be ended after that."""
    return any(isinstance(one, torch.OutOfMemoryError) for one in (error, error.__context__))
