"""CUDA as far as it can be seen without a GPU: what is said of none, and names it must have."""

from __future__ import annotations

import ast
import gc
import importlib
import inspect
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.engine import backends
from headrace.errors import DeviceMissing, ModelLoadError
from headrace.settings import ModelSettings
from tests.contract.test_backends import has_gpu
from tests.contract.test_formats import LINEAR, needs_torch

pytestmark = [needs_torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def torch_cuda() -> Any:
    """Imported here, for that takes seconds."""
    return importlib.import_module("headrace.engine.backends.torch_cuda")


def _settings(**keys: Any) -> ModelSettings:
    return ModelSettings.model_validate({"device": "cuda", **keys})


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_with_what_to_change() -> None:
    for name, keys in (("m.pt2", {}), ("m.pt", {"signature": LINEAR})):
        with pytest.raises(DeviceMissing, match=r"built without CUDA.*pip install|nvidia-smi"):
            backends.load(Path(name), _settings(**keys))


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("CUDA error: out of memory\nFor debugging", ModelLoadError, "free some there"),
        ("CUDA error: no kernel image is available", DeviceMissing, "does not know the GPU cuda:0"),
        ("CUDA error: unspecified launch failure", DeviceMissing, "launch failure; see"),
        ("CUDA driver error: system not ready", DeviceMissing, "system not ready; see"),
        ("CUDA error: invalid device ordinal", ModelLoadError, "must be a whole file"),
        ("not a zip archive", ModelLoadError, "must be a whole file"),
    ],
)
def test_what_a_gpu_refuses_is_not_told_of_the_file(
    torch_cuda: Any, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[Exception], told: str
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(torch_cuda, "check_there", lambda _: None)
    monkeypatch.setattr(torch_cuda, "keep_precise", lambda: None)
    monkeypatch.setattr("headrace.engine.backends.torch_program.read", refuse)
    with pytest.raises(kind, match=told):
        backends.load(Path("m.pt2"), _settings())
    if kind is DeviceMissing:
        with pytest.raises(ModelLoadError, match="must be a whole file"):
            backends.load(Path("m.pt2"), _settings(device="cpu"))


def test_a_gpu_without_room_for_a_model_is_told_of_whoever_saw_it(torch_cuda: Any) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
    wrapped = ModelLoadError("it does not run with the inputs that `signature` names")
    wrapped.__cause__ = full
    for one in (full, wrapped):
        told = torch_cuda.refusal(one, torch.device("cuda:1"))
        assert isinstance(told, ModelLoadError)
        assert "memory on cuda:1: free some there" in told.message
        assert "Tried to allocate 2 GiB)" in told.message


def test_a_gpu_is_tried_with_a_kernel_before_a_model_is_there(
    torch_cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch_cuda.torch, "ones", lambda *_, device: asked.append(device))
    monkeypatch.setattr(torch_cuda, "_cuda", SimpleNamespace(synchronize=asked.append))
    torch_cuda.settle("cuda:1")
    assert asked == ["cuda:1", "cuda:1"]


@pytest.mark.parametrize("keys", [{"device": "cpu"}, {"signature": LINEAR}])
def test_f16_is_for_programs_on_a_gpu(keys: dict[str, Any]) -> None:
    path = Path("m.pt" if "signature" in keys else "m.pt2")
    with pytest.raises(ModelLoadError, match=r"f32, or a \.pt2 .*on a GPU f16"):
        backends.load(path, _settings(precision="f16", **keys))


def test_32_bits_are_not_taken_for_fewer(torch_cuda: Any) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    kinds: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [kind.allow_tf32 for kind in kinds]
    torch_cuda.keep_precise()
    try:
        assert [kind.allow_tf32 for kind in kinds] == [False, False]
        with torch.backends.cudnn.flags():  # as torch.export does
            pass
    finally:
        for kind, allowed in zip(kinds, before, strict=True):
            kind.allow_tf32 = allowed


def test_every_name_of_cuda_that_is_used_is_in_this_pytorch(torch_cuda: Any) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    tree = ast.parse(Path(torch_cuda.__file__).read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"_cuda", "self._cuda"}
    }
    assert {"CUDAGraph", "Stream", "graph_pool_handle", "cudart"} <= used
    assert not [name for name in used if not hasattr(torch.cuda, name)]
    assert hasattr(torch.cuda.Stream, "synchronize")
    assert hasattr(torch.cuda.memory, "_cuda_endAllocateToPool")
    graph = inspect.signature(torch.cuda.graph.__init__).parameters
    assert {"pool", "stream", "capture_error_mode"} <= graph.keys()
    assert "blocking" in inspect.signature(torch.cuda.Event.__new__).parameters


class Graph:
    """A captured one; it is seen whether it is still held."""

    def __init__(self, replay: Callable[[], None]) -> None:
        self.replay = replay


class Recorded:
    """CUDA's calls in the place of CUDA: what was asked for, in order; streams are numbered."""

    def __init__(self, *, pins: int = 9, fault: str = "") -> None:
        self.asked: list[str] = []
        self.pinned: dict[int, int] = {}
        self.graphs: weakref.WeakSet[Any] = weakref.WeakSet()
        self.capturing: int | None = None  # to which pool
        self.began: set[int | None] = set()
        self.current = 0
        self.contexts: set[int] = set()  # taken, of these GPUs
        self._pins = pins
        self._pools = 0
        self._waits = "default"
        self._fault = fault  # what it says of everything from now on
        self._streams = 0

    def Stream(self, _: object) -> Any:  # noqa: N802 - PyTorch's names, here and below
        self._streams += 1
        name = f"stream {self._streams}"

        def synchronize() -> None:
            self.asked.append(f"wait for {name}")
            if self._fault:
                raise RuntimeError(f"CUDA error: {self._fault}\nCompile with `TORCH_USE_CUDA_DSA`")

        return SimpleNamespace(
            name=name,
            synchronize=synchronize,
            wait_event=lambda event: self.asked.append(f"{name} waits for {event.of}"),
        )

    def Event(self, *, blocking: bool = False) -> Any:  # noqa: N802
        event: Any = SimpleNamespace(
            of="", synchronize=lambda: self.asked.append(f"sleep: {event.of}")
        )
        assert isinstance(blocking, bool)

        def record(stream: Any) -> None:
            event.of = stream.name
            self.asked.append(f"{stream.name} is noted")

        event.record = record
        return event

    def graph_pool_handle(self) -> int:
        self._pools += 1
        return self._pools

    def get_sync_debug_mode(self) -> str:
        return self._waits

    def set_sync_debug_mode(self, mode: str) -> None:
        warnings.warn("a prototype, which does not see all synchronizing operations", stacklevel=1)
        self._waits = mode

    def look(self) -> None:
        """What a program does that looks at its own values."""
        if self.capturing is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        if self._waits == "warn":
            warnings.warn("called a synchronizing CUDA operation (Triggered at)", stacklevel=1)

    @property
    def memory(self) -> Any:
        return SimpleNamespace(_cuda_endAllocateToPool=self._end)

    def _end(self, device: int, pool: int) -> None:
        if (device, pool) != (0, self.capturing):
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.capturing = None

    def CUDAGraph(self) -> Any:  # noqa: N802
        graph = Graph(lambda: self.asked.append("replay"))
        self.graphs.add(graph)
        return graph

    @contextmanager
    def graph(self, _: Any, *, pool: int, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        assert pool not in self.began, "already recording to mempool_id"
        self.capturing = pool
        self.began.add(pool)  # of pinned memory
        self.asked.append(f"capture on {stream.name}")
        try:
            yield
        except RuntimeError as error:  # what breaks a capture is told again where it ends
            if "CUDA error" in str(error):
                raise RuntimeError(
                    "CUDA error: operation failed due to a previous error"
                ) from error
            self._ended()
            raise
        self._ended()
        self.asked.append("captured")

    def _ended(self) -> None:
        self.began.discard(self.capturing)
        self.capturing = None

    def cudart(self) -> Any:
        return SimpleNamespace(cudaHostRegister=self._register, cudaHostUnregister=self._unregister)

    @contextmanager
    def device(self, one: Any) -> Iterator[None]:
        before, self.current = self.current, one.index
        yield
        self.current = before

    def _unregister(self, address: int) -> None:
        self.contexts.add(self.current)
        del self.pinned[address]

    def _register(self, address: int, size_bytes: int, flags: int) -> int:
        assert flags == 1
        self.contexts.add(self.current)
        if len(self.pinned) == self._pins:
            return 2  # cudaErrorMemoryAllocation
        self.pinned[address] = size_bytes
        return 0


def _gpu(torch_cuda: Any, cuda: Recorded, device: str = "cuda:0") -> Any:
    import torch  # noqa: PLC0415 - takes seconds

    lock = threading.Lock()
    return torch_cuda.Cuda(torch.device(device), torch_cuda.Turn(), lock, cuda)


def test_lanes_of_an_instance_compute_one_after_the_other(torch_cuda: Any) -> None:
    cuda = Recorded()
    first = _gpu(torch_cuda, cuda)
    second = first.beside()
    for gpu in (first, second, first):
        with gpu.in_turn():
            cuda.asked.append("compute")
    assert cuda.asked == [
        *("compute", "stream 1 is noted"),
        *("stream 2 waits for stream 1", "compute", "stream 2 is noted"),
        *("stream 1 waits for stream 2", "compute", "stream 1 is noted"),
    ]


def test_a_computation_that_fails_keeps_nobody_waiting(torch_cuda: Any) -> None:
    cuda = Recorded()
    first = _gpu(torch_cuda, cuda)
    with pytest.raises(ZeroDivisionError), first.in_turn():
        raise ZeroDivisionError
    with first.beside().in_turn():
        assert cuda.asked == []


def test_a_graph_is_captured_after_its_libraries_have_settled(torch_cuda: Any) -> None:
    cuda = Recorded()
    gpu = _gpu(torch_cuda, cuda)

    def compute() -> list[Any]:
        cuda.asked.append("compute")
        return ["output"]

    replay, outputs = gpu.capture(compute)
    replay()
    assert outputs == ["output"]
    assert cuda.asked[-5:] == ["compute", "capture on stream 1", "compute", "captured", "replay"]
    assert cuda.asked.count("compute") == 4
    cuda.asked.clear()
    gpu.wait()
    assert cuda.asked == ["stream 1 is noted", "sleep: stream 1"]


@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        ("", False),
        ("an illegal memory access was encountered", True),
        ("operation not permitted when stream is capturing", False),
        ("operation failed due to a previous error during capture", False),
        ("operation would result in a merge of separate capture sequences", False),
    ],
)
def test_a_process_ends_when_the_gpu_is_lost_and_only_then(
    torch_cuda: Any, monkeypatch: pytest.MonkeyPatch, fault: str, *, ends: bool
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    cuda = Recorded(fault=fault)
    _gpu(torch_cuda, cuda).check()
    assert cuda.asked == ["wait for stream 1"]  # not for the device, on which others capture
    assert statuses == ([70] if ends else [])


def test_a_gpu_is_looked_at_when_no_lane_captures(torch_cuda: Any) -> None:
    cuda = Recorded()
    gpu = _gpu(torch_cuda, cuda)
    captures, goes_on = threading.Event(), threading.Event()

    def compute() -> list[Any]:
        captures.set()
        assert goes_on.wait(10)
        return []

    lanes = [threading.Thread(target=gpu.beside().capture, args=(compute,))]
    lanes[0].start()
    assert captures.wait(10)
    lanes.append(threading.Thread(target=gpu.check))
    lanes[1].start()
    lanes[1].join(0.05)
    assert "wait for stream 1" not in cuda.asked
    goes_on.set()
    for lane in lanes:
        lane.join(10)
    assert cuda.asked[-2:] == ["captured", "wait for stream 1"]


def test_a_lane_beside_may_wait_while_a_program_is_looked_at(torch_cuda: Any) -> None:
    cuda = Recorded()

    def compute() -> list[Any]:
        beside = threading.Thread(target=cuda.look)
        if cuda.capturing is None:
            beside.start()
            beside.join()
        return ["output"]

    with pytest.warns(UserWarning, match="called a synchronizing"):  # told whoever hears them
        _, outputs = _gpu(torch_cuda, cuda).capture(compute)
    assert outputs == ["output"]


def test_a_program_that_waits_is_found_before_it_breaks_a_capture(torch_cuda: Any) -> None:
    cuda = Recorded()
    with pytest.raises(RuntimeError, match="waits for the GPU"):
        _gpu(torch_cuda, cuda).capture(cuda.look)
    assert (cuda.capturing, len(cuda.graphs)) == (None, 0)
    assert cuda.get_sync_debug_mode() == "default"


def test_a_capture_that_breaks_is_ended_for_pytorch_and_others_follow(torch_cuda: Any) -> None:
    cuda = Recorded()
    gpu = _gpu(torch_cuda, cuda)

    def compute() -> list[Any]:
        if cuda.capturing is not None:
            cuda.look()  # in a way that nothing warns of
        return []

    with pytest.raises(RuntimeError, match="previous error"):
        gpu.capture(compute)
    gc.collect()
    assert cuda.capturing is None
    assert len(cuda.graphs) == 1  # PyTorch has a pointer to it
    gpu.capture(list)
    assert cuda.asked[-1] == "captured"


def test_a_capture_that_ends_with_an_error_is_not_ended_twice(torch_cuda: Any) -> None:
    cuda = Recorded()
    gpu = _gpu(torch_cuda, cuda)

    def compute() -> list[Any]:
        if cuda.capturing is not None:
            raise RuntimeError("no memory left")
        return []

    with pytest.raises(RuntimeError, match="no memory left"):
        gpu.capture(compute)
    gc.collect()
    assert not cuda.graphs  # and what it had allocated may be used by others
    gpu.capture(list)
    assert cuda.asked[-1] == "captured"


def test_slots_are_pinned_until_they_are_released(torch_cuda: Any) -> None:
    for pins, expected in ((9, [4096] * 3), (1, [4096])):  # the second runs out of what may be
        cuda = Recorded(pins=pins)
        release = _gpu(torch_cuda, cuda).pin([memoryview(bytearray(4096)) for _ in range(3)])
        assert list(cuda.pinned.values()) == expected
        release()
        assert not cuda.pinned


def test_slots_are_pinned_by_the_gpu_of_the_lane(torch_cuda: Any) -> None:
    cuda = Recorded()
    _gpu(torch_cuda, cuda, "cuda:1").pin([memoryview(bytearray(4096))])()
    assert cuda.contexts == {1}


def test_what_a_lane_asks_for_is_what_a_gpu_offers(torch_cuda: Any) -> None:
    asked = importlib.import_module("headrace.engine.backends.torch_lane").Gpu
    for name, member in vars(asked).items():
        if callable(member) and not name.startswith("_"):
            offered = inspect.signature(getattr(torch_cuda.Cuda, name))
            assert list(offered.parameters) == list(inspect.signature(member).parameters), name
