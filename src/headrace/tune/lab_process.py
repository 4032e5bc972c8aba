"""A lab as the tuner sees it: started, told, heard and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Self

from headrace.errors import HeadraceError, InferenceFailed, ModelLoadError
from headrace.loader.engine_process import end_of, environment
from headrace.message import line
from headrace.tune.messages import (
    Answer,
    Answered,
    Failed,
    Load,
    Loaded,
    Ran,
    Time,
    Together,
    Took,
    report,
)

LAB = (sys.executable, "-P", "-m", "headrace.tune.lab")
# What takes longer is stuck: a load may compile for minutes, runs are mostly of a second at most.
LOAD_S, RUN_S = 300.0, 60.0
_LAST_WORDS_BYTES = 2000


class LabProcess:
    """A lab's process; ends with the context.

    Every order raises a ``HeadraceError`` where the lab cannot do it, or has died.
    """

    def __init__(self, told: Load) -> None:
        self._told = told
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._errors = TemporaryFile()
        self._process = subprocess.Popen(
            LAB,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(),
            start_new_session=True,  # with the compiler that it may have started
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            _end(self._process)
            self._process.communicate()
        if self._errors is not None:
            self._errors.close()

    def load(self, timeout_s: float = LOAD_S) -> Loaded:
        """Load the model; what takes longer is ended."""
        more = "" if timeout_s >= LOAD_S else ": --budget gives more"
        loaded = self._ask(self._told, timeout_s, more)
        if not isinstance(loaded, Loaded):
            raise ModelLoadError(f"the lab answered with {loaded.kind}")
        return loaded

    def time(self, rows: int, timeout_s: float = RUN_S) -> tuple[float, ...]:
        """Time runs of so many rows, in seconds."""
        took = self._ask(Time(rows=rows), timeout_s)
        if not isinstance(took, Took):
            raise InferenceFailed(f"the lab answered with {took.kind}")
        return took.times_s

    def together(self, rows: int, lanes: int, timeout_s: float = RUN_S) -> Ran:
        """What a run takes while so many lanes run."""
        ran = self._ask(Together(rows=rows, lanes=lanes), timeout_s)
        if not isinstance(ran, Ran):
            raise InferenceFailed(f"the lab answered with {ran.kind}")
        return ran

    def answer(self, samples_path: str, answers_path: str) -> None:
        """Answer samples."""
        told = self._ask(Answer(samples_path=samples_path, answers_path=answers_path), LOAD_S)
        if not isinstance(told, Answered):
            raise InferenceFailed(f"the lab answered with {told.kind}")

    def _ask(
        self, told: Load | Time | Together | Answer, timeout_s: float, more: str = ""
    ) -> Loaded | Took | Ran | Answered:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("the lab is not started: use it as a context")
        late = threading.Event()
        watch = threading.Timer(timeout_s, _give_up, (process, late))
        watch.daemon = True  # Ctrl-C may come before the next line
        try:
            watch.start()
            process.stdin.write(line(told))
            process.stdin.flush()
            text = process.stdout.readline()
        except BrokenPipeError:
            text = b""
        finally:
            watch.cancel()
        if not text and late.is_set():
            process.wait()
            raise ModelLoadError(f"it was not done in {timeout_s:.0f} s{more}")
        if not text:
            raise self._died(process)
        heard = report.validate_json(text)
        if isinstance(heard, Failed):
            raise ModelLoadError(heard.message)
        return heard

    def _died(self, process: subprocess.Popen[bytes]) -> HeadraceError:
        status = process.wait()
        said = ""
        if self._errors is not None:
            self._errors.seek(0)
            said = self._errors.read()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()
        last = said.splitlines()[-1] if said else "it said nothing"
        return ModelLoadError(f"its process {end_of(status)}: {last}")


def _give_up(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    """End a lab that is not done in time, and say that it was that."""
    late.set()
    _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a lab, with what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
