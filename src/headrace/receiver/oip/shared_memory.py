"""Tensors in POSIX shared memory that clients have registered (Triton's system_shared_memory).

Regions are read and written through their descriptors and never mapped: a client that truncates
one gets an error, where touching a mapping would end this process.
"""

from __future__ import annotations

import os
import reprlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import (
    AlreadyExists,
    BodyTooLarge,
    InvalidInput,
    MalformedRequest,
    RegionNotFound,
    TooManyRegions,
    Unsupported,
)

MOST_REGIONS = 256
"""Each holds a descriptor, of which a process has some thousand."""

_FOLDER = Path("/dev/shm")  # noqa: S108 - where shm_open puts them
_LONGEST_KEY = 255
_LARGEST = 2**63
REGION, OFFSET, SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"


class Place(NamedTuple):
    """Where a tensor lies: so many bytes of a region."""

    region: str
    offset: int
    size_bytes: int


class Region(NamedTuple):
    """A part of a shared memory object, under a name of its own."""

    name: str
    key: str
    offset: int
    size_bytes: int
    descriptor: int


def read_place(tensor: str, parameters: Mapping[str, Any]) -> Place | None:
    """Read where a tensor lies from its parameters; None when it travels in the message.

    Raises:
        InvalidInput: region, offset or size are not what they should be.
    """
    if REGION not in parameters:
        return None
    region = parameters[REGION]
    if not isinstance(region, str) or not region:
        raise InvalidInput(f"tensor {tensor!r}: {REGION} must be the name of a region")
    if parameters.get(SIZE) is None:
        raise InvalidInput(f"tensor {tensor!r}: {REGION} needs {SIZE} beside it")
    offset = parameters.get(OFFSET)
    try:
        return Place(region, _whole(OFFSET, offset or 0), _whole(SIZE, parameters[SIZE]))
    except MalformedRequest as error:
        raise InvalidInput(f"tensor {tensor!r}: {error.message}") from error


class Regions:
    """The regions clients have registered; off unless the server's settings say otherwise."""

    def __init__(self, *, enabled: bool, limit_bytes: int) -> None:
        self.enabled = enabled
        self._limit_bytes = limit_bytes
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: Any, offset: Any, size_bytes: Any) -> None:
        """Open a shared memory object and keep a part of it under a name.

        Raises:
            Unsupported: shared memory is off.
            AlreadyExists: the name is taken.
            TooManyRegions: there are too many.
            MalformedRequest: the key, the offset or the size cannot be right.
            InvalidInput: there is no such object, or it is smaller.
        """
        self._check_enabled()
        if not name or len(name) > _LONGEST_KEY:
            raise MalformedRequest(
                f"a shared memory region needs a name, of {_LONGEST_KEY} characters at most"
            )
        if name in self._regions:
            raise AlreadyExists(f"shared memory region {reprlib.repr(name)} is registered already")
        if len(self._regions) >= MOST_REGIONS:
            raise TooManyRegions(
                f"{MOST_REGIONS} shared memory regions are registered: unregister some first"
            )
        start, size = _whole("offset", offset), _whole("byte_size", size_bytes)
        if not size:
            raise MalformedRequest("byte_size must be at least 1")
        descriptor = _open(key, start + size)
        self._regions[name] = Region(name, key, start, size, descriptor)

    def unregister(self, name: str = "") -> None:
        """Let go of a region, or of all; one that is not there is gone already.

        Raises:
            Unsupported: shared memory is off.
        """
        self._check_enabled()
        for one in [name] if name else list(self._regions):
            region = self._regions.pop(one, None)
            if region is not None:
                os.close(region.descriptor)

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """One region or all of them, by the protocol's names.

        Raises:
            Unsupported: shared memory is off.
            RegionNotFound: there is none of that name.
        """
        self._check_enabled()
        chosen = [self._find(name)] if name else self._regions.values()
        return [
            {"name": r.name, "key": r.key, "offset": r.offset, "byte_size": r.size_bytes}
            for r in chosen
        ]

    def check(self, place: Place) -> Region:
        """Check that a place lies within its region.

        Raises:
            Unsupported: shared memory is off.
            RegionNotFound: there is none of that name.
            InvalidInput: it is smaller.
            BodyTooLarge: it is more than a body may have.
        """
        self._check_enabled()
        region = self._find(place.region)
        if place.offset + place.size_bytes > region.size_bytes:
            raise InvalidInput(
                f"shared memory region {place.region!r} has {region.size_bytes} bytes: "
                f"{place.size_bytes} at offset {place.offset} are not within them"
            )
        self.check_size(place.size_bytes)
        return region

    def check_size(self, size_bytes: int) -> None:
        """Check that one request may use so much.

        Raises:
            BodyTooLarge: it is more than a body may have.
        """
        if size_bytes > self._limit_bytes:
            raise BodyTooLarge(
                f"{size_bytes} bytes of shared memory are more than {self._limit_bytes}: "
                "use less at once, or raise server.max_body_mib"
            )

    def read(self, tensor: str, place: Place) -> bytes:
        """Copy a tensor out.

        Raises:
            HeadraceError: as ``check``; or the object has been cut off since.
        """
        region = self.check(place)
        at = region.offset + place.offset
        data = os.pread(region.descriptor, place.size_bytes, at)
        if len(data) != place.size_bytes:
            raise InvalidInput(
                f"input {tensor!r}: shared memory {region.key!r} has shrunk since it was "
                "registered; register it again"
            )
        return data

    def write(self, tensor: str, place: Place, data: bytes) -> None:
        """Copy a tensor in.

        Raises:
            HeadraceError: as ``check``; or it does not fit its place.
        """
        region = self.check(place)
        if len(data) > place.size_bytes:
            raise InvalidInput(
                f"output {tensor!r} has {len(data)} bytes, its place in shared memory region "
                f"{place.region!r} {place.size_bytes}: give it more"
            )
        at = region.offset + place.offset
        if os.fstat(region.descriptor).st_size < at + len(data):
            raise InvalidInput(
                f"output {tensor!r}: shared memory {region.key!r} has shrunk since it was "
                "registered; register it again"
            )
        try:
            written = os.pwrite(region.descriptor, data, at)
        except OSError as error:
            raise InvalidInput(
                f"output {tensor!r}: shared memory {region.key!r}: {error.strerror}"
            ) from error
        if written != len(data):
            raise InvalidInput(f"output {tensor!r}: shared memory {region.key!r} is full")

    def _find(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            raise RegionNotFound(
                f"Unable to find shared memory region: {reprlib.repr(name)}; register it first"
            )
        return region

    def _check_enabled(self) -> None:
        if not self.enabled:
            raise Unsupported(
                "shared memory is off: start the server with server.shared_memory true "
                "(HEADRACE_SERVER__SHARED_MEMORY=true) if you trust every client on this machine"
            )


def _open(key: Any, least_bytes: int) -> int:
    """Open an object and check what it is; a link or a pipe in its place is refused."""
    name = key.removeprefix("/") if isinstance(key, str) else ""
    if not name or "/" in name or "\0" in name or name in {".", ".."} or len(name) > _LONGEST_KEY:
        raise MalformedRequest(
            f"key {reprlib.repr(key)} is no name of POSIX shared memory: no slash but a first one"
        )
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(_FOLDER / name, flags)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no such name"
        raise InvalidInput(f"shared memory {reprlib.repr(key)} cannot be opened: {why}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size < least_bytes:
        os.close(descriptor)
        raise InvalidInput(
            f"shared memory {reprlib.repr(key)} has {found.st_size} bytes, offset and byte_size "
            f"ask for {least_bytes}"
        )
    return descriptor


def _whole(what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST:
        raise MalformedRequest(f"{what} must be a whole number, not {reprlib.repr(value)}")
    return value


class Reading:
    """The inputs of one request in shared memory: together no more than a body may have."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._bytes = 0

    def read(self, tensor: str, place: Place) -> bytes:
        """Copy a tensor out.

        Raises:
            HeadraceError: as ``Regions.read``; or all of them are too much.
        """
        self._bytes += place.size_bytes
        self._regions.check_size(self._bytes)
        return self._regions.read(tensor, place)
