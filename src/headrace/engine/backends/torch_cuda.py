"""What of CUDA the lanes of a PyTorch program use; nothing is decided here."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import structlog
import torch

from headrace.engine.backends import gpu_fault
from headrace.engine.backends.torch_edges import Release
from headrace.engine.backends.torch_lane import Compute
from headrace.errors import DeviceMissing, HeadraceError, ModelLoadError

_log = structlog.get_logger("headrace.engine")

_cuda: Any = torch.cuda  # half of which has no types

# So many runs before a capture: TorchScript looks twice before it compiles what it has seen.
_RUNS_BEFORE = 3
# cudaHostRegisterPortable: pinned for every context of the process.
_PORTABLE = 1
# In what CUDA says of each of cudaErrorStreamCaptureUnsupported and the eight after it.
_CAPTURING = "captur"
# How PyTorch begins to tell what CUDA has told it.
_FROM_CUDA = ("CUDA error", "CUDA driver error")
# What PyTorch warns of where it is asked to (c10/cuda/CUDAFunctions.cpp).
_WAITED = "called a synchronizing CUDA operation"


def check_there(index: int) -> None:
    """See that PyTorch can use a GPU.

    Raises:
        DeviceMissing: it cannot; the message says what to change.
    """
    if torch.version.cuda is None:
        raise DeviceMissing(
            f"this PyTorch ({torch.__version__}) is built without CUDA: install one with it, which "
            "is what PyPI has for Linux (`pip install --force-reinstall torch`), or leave `device` "
            "out"
        )
    if not _cuda.is_available():
        raise DeviceMissing(
            "PyTorch sees no NVIDIA GPU: `nvidia-smi` should list one, with a driver for CUDA "
            f"{torch.version.cuda} or newer; a container needs `--gpus all`"
        )
    count = _cuda.device_count()
    if index >= count:
        raise DeviceMissing(
            f"there is no cuda:{index}: the GPUs here are cuda:0 to cuda:{count - 1}"
        )


def keep_precise() -> None:
    """Have 32-bit arithmetic be that, and not TF32, which cuDNN takes by itself.

    The older of two ways to say so: after the newer one, which has no word for recurrent layers,
    PyTorch refuses to export, and whatever else looks at the older one.
    """
    backends: Any = torch.backends
    backends.cuda.matmul.allow_tf32 = False
    backends.cudnn.allow_tf32 = False


def settle(device: torch.device) -> None:
    """See that what was loaded is there: lanes do not wait for the stream it was loaded on."""
    torch.ones(1, device=device)  # else a GPU without kernels would be noticed in the warm-up
    _cuda.synchronize(device)


def refusal(error: Exception, device: torch.device) -> HeadraceError | None:
    """What an error of loading is if it is the GPU's; None: it is not."""
    for one in (error, error.__cause__):
        said = _first_line(one)
        # The GPU is there: another that is not is the file's, which was written there.
        is_cuda = said.startswith(_FROM_CUDA) and "ordinal" not in said
        if isinstance(one, torch.OutOfMemoryError) or (is_cuda and "out of memory" in said):
            return ModelLoadError(
                f"there is not enough memory on {device}: free some there, or use another "
                f"`device` ({said})"
            )
        if is_cuda and "no kernel image" in said:
            return DeviceMissing(
                f"this PyTorch ({torch.__version__}, for {' '.join(_cuda.get_arch_list())}) does "
                f"not know the GPU {device}: install one that does, or use another `device`"
            )
        if is_cuda:
            return DeviceMissing(f"{device} cannot be used: {said}; see `nvidia-smi`")
    return None


def total_bytes(index: int) -> int:
    """How much memory a GPU has."""
    size_bytes: int = _cuda.get_device_properties(index).total_memory
    return size_bytes


def _first_line(error: BaseException | None) -> str:
    """What CUDA says; below that PyTorch says where to read about it."""
    return str(error).strip().partition("\n")[0][:500]


class Turn:
    """Whose computing has been asked for last; lanes of one instance compute one after the other.

    Two at once would both take twice as long, and the first answer would come no sooner than the
    second.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.computed: Any = None


class Cuda:
    """A GPU as one lane has it: a stream, and memory for its graphs."""

    def __init__(
        self, device: torch.device, turn: Turn, capturing: threading.Lock, cuda: Any = _cuda
    ) -> None:
        self.device = device
        self._cuda = cuda  # of tests a double
        self._turn = turn
        self._capturing = capturing  # PyTorch captures one graph at a time in a process
        self._stream = self._cuda.Stream(device)
        self._pool = self._cuda.graph_pool_handle()
        self._abandoned: list[Any] = []
        self._computed = self._cuda.Event()
        # Blocking: the thread sleeps; else it would spin on a core.
        self._done = self._cuda.Event(blocking=True)

    def beside(self) -> Cuda:
        """The same with another stream, which computes in turn with this one."""
        return Cuda(self.device, self._turn, self._capturing, self._cuda)

    @contextmanager
    def working(self) -> Iterator[None]:
        """What is asked for inside goes to this stream."""
        with self._cuda.device(self.device), self._cuda.stream(self._stream):
            yield

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """What is asked for inside begins when the lane beside has computed."""
        turn = self._turn
        with turn.lock:
            if turn.computed is not None:
                self._stream.wait_event(turn.computed)
            yield
            self._computed.record(self._stream)
            turn.computed = self._computed

    def capture(self, compute: Compute) -> tuple[Callable[[], None], Sequence[torch.Tensor]]:
        """The graphs of a lane share memory: none begins before the outputs of another are out.

        Raises:
            Exception: it cannot be captured, or did not run.
        """
        with self._capturing:
            for _ in range(_RUNS_BEFORE - 1):
                compute()
            self._refuse_waiting(compute)
            graph = self._cuda.CUDAGraph()
            try:
                # Of this thread only: the lane beside may well ask for memory meanwhile.
                with self._cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    outputs = compute()
            except BaseException:
                self._abandon(graph)
                raise
        return graph.replay, outputs

    def _refuse_waiting(self, compute: Compute) -> None:
        """See before a capture what would break it: not all that it leaves can be put in order.

        Raises:
            RuntimeError: the program waits for the GPU, which no graph can.
        """
        # It is to warn and not to fail, for the mode is of the process: the lane beside may run,
        # and wait for what it has asked for.
        me, told = threading.get_ident(), list[str]()

        others = warnings.showwarning

        def hear(message: Warning | str, *where: Any, **more: Any) -> None:
            if threading.get_ident() == me:
                told.append(str(message))
            else:
                others(message, *where, **more)

        before = self._cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = hear
            self._cuda.set_sync_debug_mode("warn")
            try:
                compute()
            finally:
                self._cuda.set_sync_debug_mode(before)
        if any(message.startswith(_WAITED) for message in told):
            raise RuntimeError("it waits for the GPU when it runs, to look at values")

    def _abandon(self, graph: Any) -> None:
        """End what a capture that failed has begun: PyTorch's allocators take it for under way."""
        end = getattr(self._cuda.memory, "_cuda_endAllocateToPool", None)
        try:
            if end is not None:
                end(self.device.index, self._pool)
        except RuntimeError:
            return  # it has ended, for what failed was something else: its memory goes with it
        # That of pinned memory asks the graph, and cannot be told: the graph stays, and what is
        # captured later has another pool.
        self._abandoned.append(graph)
        self._pool = self._cuda.graph_pool_handle()

    def host(self, like: torch.Tensor) -> torch.Tensor:
        """Pinned memory for a tensor."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def wait(self) -> None:
        """Sleep until all that was asked of this stream is done."""
        self._done.record(self._stream)
        self._done.synchronize()

    def free_bytes(self) -> int:
        """How much memory is free on the GPU."""
        free, _ = self._cuda.mem_get_info(self.device)
        return int(free)

    def check(self) -> None:
        """End the process if the GPU is lost to it."""
        try:
            # Of this stream, and beside no capture: CUDA would refuse to wait for a GPU on which
            # another lane captures, and a lost GPU refuses everything.
            with self._capturing:
                self._stream.synchronize()
        except RuntimeError as error:
            if _CAPTURING not in _first_line(error):
                gpu_fault.end(str(self.device), error)

    def pin(self, areas: Sequence[memoryview]) -> Release:
        """Pin memory that is there already, until it is released."""
        runtime = self._cuda.cudart()
        pinned: list[int] = []

        def release() -> None:
            with self._cuda.device(self.device):
                for address in pinned:
                    runtime.cudaHostUnregister(address)

        # Or the thread, which runs nothing, would take a context of the first GPU for it.
        with self._cuda.device(self.device):
            for area in areas:
                address = np.frombuffer(area, np.uint8).ctypes.data
                status = int(runtime.cudaHostRegister(address, len(area), _PORTABLE))
                if status:
                    # Then copies take a detour, and the thread waits for them.
                    _log.warning("not_pinned", size_bytes=len(area), cuda_error=status)
                    break
                pinned.append(address)
        return release
