"""Large bodies in memory files, which another process can be given without a copy."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator, Sequence
from typing import Self

from headrace.errors import Exhausted

# What one call of writev takes (IOV_MAX).
_MOST_CHUNKS = 1024


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Tell of descriptors or memory that are not there now as an error that may be tried again.

    Raises:
        Exhausted: there are none.
    """
    try:
        yield
    except TimeoutError:  # an OSError, too
        raise
    except OSError as error:
        raise Exhausted(
            f"the server cannot keep this body now: {error}; try again, open fewer connections, or "
            "raise the limits of open files (ulimit -n) and of memory",
            retry_after_s=1.0,
        ) from error


class Parcel:
    """A memory file that grows as it is written; closed with the last reference to it."""

    __slots__ = ("descriptor", "open", "size_bytes")

    def __init__(self, descriptor: int, size_bytes: int = 0) -> None:
        self.descriptor = descriptor
        self.size_bytes = size_bytes
        self.open = True

    @classmethod
    def create(cls, *chunks: bytes | memoryview) -> Self:
        """Make one with these bytes in it.

        Raises:
            OSError: there are no descriptors left, or no memory.
        """
        parcel = cls(os.memfd_create("headrace-json"))
        parcel.write(chunks)
        return parcel

    @classmethod
    def of(cls, body: bytes | memoryview) -> Parcel | None:
        """Return the parcel that a body is a view of, if it is one of all of it, and still open.

        A body outlives its parcel where a request begins anew, as for a model that has just left.
        """
        owner = body.obj if isinstance(body, memoryview) else None
        if not isinstance(owner, _Mapped) or len(owner) != len(body) or not owner.parcel.open:
            return None
        return owner.parcel

    def write(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Append bytes.

        Raises:
            OSError: there is no memory.
        """
        left = [memoryview(chunk) for chunk in chunks if chunk]
        while left:
            written = os.writev(self.descriptor, left[:_MOST_CHUNKS])
            self.size_bytes += written
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = left[0][written:]

    def view(self) -> memoryview:
        """Map what has been written; the view keeps the parcel."""
        mapped = _Mapped(self.descriptor, self.size_bytes, access=mmap.ACCESS_READ)
        mapped.parcel = self
        return memoryview(mapped)

    def close(self) -> None:
        """Close the descriptor; views stay what they are."""
        if self.open:
            self.open = False
            os.close(self.descriptor)

    def __del__(self) -> None:
        self.close()


class _Mapped(mmap.mmap):
    """A mapping that knows its parcel."""

    parcel: Parcel
