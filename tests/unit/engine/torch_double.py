"""What stands for a GPU in tests, and programs to run on it; takes seconds to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headrace.engine.backends.torch_captures import Captures
from headrace.engine.backends.torch_edges import Edges
from headrace.engine.backends.torch_lane import TorchLane
from headrace.engine.backends.torch_tensors import Program
from headrace.values import Array, DType, Signature, TensorSpec

Module: Any = torch.nn.Module  # whose subclasses mypy takes alike with PyTorch and without
GIB = 2**30
SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 3)), TensorSpec("shift", DType.BF16, (None, 1))),
    (TensorSpec("y", DType.FP32, (None, 3)), TensorSpec("top", DType.INT64, (None,))),
    batched=True,
)


Mode: Any = torch.utils._python_dispatch.TorchDispatchMode


# What the processor does with its own memory.
_AT_HOME = (torch.ops.aten.clone.default, torch.ops.aten.lift_fresh.default)


class Rule(Mode):  # type: ignore[misc]
    """CUDA's: it copies from memory that is wholly pinned, or not at all."""

    def __init__(self, pinned: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self._pinned = pinned

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _AT_HOME:
            for one in args:
                if isinstance(one, torch.Tensor):
                    self._check(one.data_ptr(), one.numel() * one.element_size())
        return func(*args, **(kwargs or {}))

    def _check(self, begin: int, size_bytes: int) -> None:
        end = begin + size_bytes
        for first, last in self._pinned:
            within = max(begin, first) < min(end, last)
            if within and not first <= begin < end <= last:
                raise RuntimeError("CUDA error: invalid argument")


class Host:
    """The processor as a GPU: a replay computes anew, from the same buffers to the same outputs."""

    def __init__(
        self, *, refuses: Exception | None = None, ranges: list[tuple[int, int]] | None = None
    ) -> None:
        self.device = torch.device("cpu")
        self.asked: list[str] = []
        self.pinned: list[int] = []
        self.free = 70 * GIB
        self._ranges: list[tuple[int, int]] = [] if ranges is None else ranges
        self.refuses = refuses  # to capture

    def working(self) -> Any:
        return Rule(self._ranges) if self._ranges else nullcontext()

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        self.asked.append("turn")
        yield
        self.asked.append("computed")

    def capture(self, compute: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.asked.append("capture")
        if self.refuses is not None:
            raise self.refuses
        outputs = compute()

        def replay() -> None:
            self.asked.append("replay")
            for output, found in zip(outputs, compute(), strict=True):
                output.copy_(found)

        return replay, outputs

    def host(self, like: Any) -> Any:
        return torch.empty(like.shape, dtype=like.dtype)

    def wait(self) -> None:
        self.asked.append("wait")

    def free_bytes(self) -> int:
        return self.free

    def check(self) -> None:
        self.asked.append("check")

    def pin(self, areas: Sequence[memoryview]) -> Callable[[], None]:
        self.pinned = [len(area) for area in areas]
        for area in areas:
            address = np.frombuffer(area, np.uint8).ctypes.data
            self._ranges.append((address, address + len(area)))
        return self._ranges.clear

    def beside(self) -> Host:
        return Host(ranges=self._ranges)


def _compute(given: Sequence[Any]) -> Sequence[Any]:
    x, shift = given
    return x.t().mul(2).t() + shift.to(torch.float32), x.argmax(1)  # the first is not contiguous


def lane_of(gpu: Host, most: int = 8) -> TorchLane:
    return TorchLane(Program(_compute, SIGNATURE), gpu, lambda: Captures(80 * GIB, most), Edges())


def inputs_of(rows: int, seed: int = 0) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {
        "x": random.random((rows, 3), np.float32),
        "shift": random.random((rows, 1), np.float32).astype(DType.BF16.numpy),
    }


def is_right(lane: TorchLane, inputs: dict[str, Array]) -> bool:
    found = lane.run(inputs)
    expected = inputs["x"] * 2 + inputs["shift"].astype(np.float32)
    return (
        list(found) == ["y", "top"]
        and np.array_equal(found["y"], expected)
        and np.array_equal(found["top"], inputs["x"].argmax(1))
    )


class Block(Module):  # type: ignore[misc]
    """What models are made of: a convolution with its norm, attention, an explicit dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.mix = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = torch.nn.Sequential(torch.nn.LayerNorm(8), torch.nn.Linear(8, 5))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = torch.relu(self.norm(self.conv(x))).flatten(2).transpose(1, 2)
        y = self.mix(y, y, y, need_weights=False)[0] + y
        y = self.last(y.mean(1)).to(torch.float32)
        return {"y": y, "p": y.softmax(1), "top": y.argmax(1)}


def write_block(path: Path) -> Path:
    """Export it, of images of 6 x 6."""
    return _write(Block(), torch.zeros(2, 3, 6, 6), path)


class Tables(Module):  # type: ignore[misc]
    """A detector's grid, places that are added, a weight that is looked up in too, and factors."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.tensor([[637.0, 635.0], [1000.5, 3.0]]))
        self.register_buffer("turns", torch.rand(2, 4))
        self.places = torch.nn.Parameter(torch.rand(1, 4) * 100)
        self.words = torch.nn.Embedding(6, 4)
        self.head = torch.nn.Linear(4, 6, bias=False)
        self.head.weight = self.words.weight
        self.factor = torch.nn.Parameter(torch.rand(4, 4))
        self.late = torch.nn.Parameter(torch.rand(4, 4))
        self.kernel = torch.nn.Parameter(torch.rand(2, 1, 3))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = (x + self.places) @ self.factor.t().view(2, 2, 4).flatten(0, 1)
        with torch.no_grad():
            y = y @ self.late + self.turns[0]
        z = torch.nn.functional.conv1d(y.unsqueeze(1), self.kernel)
        words = self.head(self.words(x.argmax(1)))
        return {"boxes": self.grid + z.mean(1, keepdim=True), "words": words}


def write_tables(path: Path) -> Path:
    """Export it."""
    return _write(Tables(), torch.zeros(2, 4), path)


def _write(module: Any, example: torch.Tensor, path: Path) -> Path:
    torch.manual_seed(0)
    free = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(module.eval(), (example,), dynamic_shapes=free)
    torch.export.save(program, path)
    return path
