"""Standard output and standard error: what the server's processes cannot write is lost.

A disk is full, the reader of a pipe leaves, a descriptor was closed before the start: the server
goes on serving, and so does a model that prints. What another command cannot write it is to tell.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def open_outlets() -> None:
    """Let this process write to its standard streams whatever becomes of them.

    Descriptors that are closed lead to nowhere from now on: the next file or socket that is opened
    would else be taken for standard error, here and in every child.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - positional
    # Another stream was put there by who uses us as a library.
    if sys.stdout is sys.__stdout__:
        sys.stdout = _opened(_Outlet(1, "wb", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _opened(_Outlet(2, "wb", closefd=False), sys.stderr)


class Output(io.FileIO):
    """Remembers why something could not be written; the rest is lost, and nobody told again."""

    lost: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of it, and return how much.

        Raises:
            OSError: it cannot be written, for the first time.
        """
        if self.lost is not None:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            raise


def open_output() -> Output | None:
    """Have standard output tell why it cannot be written; None: it is closed, or not Python's."""
    before = sys.__stdout__
    if before is None or before is not sys.stdout:
        return None
    output = Output(before.fileno(), "wb", closefd=False)
    sys.stdout = _opened(output, before)
    return output


def _opened(outlet: io.FileIO, before: TextIO | None) -> TextIO:
    """A stream as Python makes it, over another file."""
    if not isinstance(before, io.TextIOWrapper):  # there was no descriptor
        file = io.BufferedWriter(outlet)
        return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace")
    with contextlib.suppress(OSError, ValueError):
        before.flush()
    return io.TextIOWrapper(
        # Without a buffer where Python was told to have none.
        cast(BinaryIO, outlet) if before.write_through else io.BufferedWriter(outlet),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )


class _Outlet(io.FileIO):
    """Takes everything."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            written: int | None = super().write(data)
        except OSError:
            written = None
        # None: it would block, for somebody has made it so.
        return memoryview(data).nbytes if written is None else written
