"""Regions of shared memory: what may be registered, how many, and that nothing is left open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import (
    AlreadyExists,
    BodyTooLarge,
    HeadraceError,
    InvalidInput,
    MalformedRequest,
    RegionNotFound,
    TooManyRegions,
)
from headrace.receiver.oip.shared_memory import MOST_REGIONS, Place, Reading, Regions, read_place

SIZE = 64


@pytest.fixture
def key() -> Iterator[str]:
    """A shared memory object of 64 bytes."""
    name = f"headrace-unit-{os.getpid()}"
    path = Path("/dev/shm") / name  # noqa: S108
    path.write_bytes(bytes(range(SIZE)))
    yield name
    path.unlink()


@pytest.fixture
def regions() -> Iterator[Regions]:
    made = Regions(enabled=True, limit_bytes=SIZE)
    yield made
    made.unregister()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_part_of_an_object_is_read_and_written(regions: Regions, key: str) -> None:
    regions.register("r", f"/{key}", 8, 32)
    assert regions.read("x", Place("r", 4, 4)) == bytes([12, 13, 14, 15])
    regions.write("y", Place("r", 0, 8), b"abc")
    assert regions.read("x", Place("r", 0, 4)) == b"abc\x0b"
    assert regions.status("r") == [{"name": "r", "key": f"/{key}", "offset": 8, "byte_size": 32}]


@pytest.mark.parametrize(
    "bad", ["", "/", "//a", "/../a", "a/b", "..", ".", "a\0", "a" * 256, None, 1]
)
def test_a_key_is_a_name_and_no_path(regions: Regions, bad: Any) -> None:
    with pytest.raises(MalformedRequest, match="no name of POSIX shared memory"):
        regions.register("r", bad, 0, 1)


def test_links_pipes_and_what_is_smaller_are_refused(regions: Regions, key: str) -> None:
    link, pipe = Path(f"/dev/shm/{key}-link"), Path(f"/dev/shm/{key}-pipe")  # noqa: S108
    before = descriptors()
    try:
        link.symlink_to("/etc/passwd")
        os.mkfifo(pipe)
        for name in (link.name, pipe.name, "headrace-none", "\ud800"):
            with pytest.raises(InvalidInput, match="shared memory"):
                regions.register("r", name, 0, 1)
        with pytest.raises(InvalidInput, match="has 64 bytes, offset and byte_size ask for 65"):
            regions.register("r", key, 1, SIZE)
    finally:
        link.unlink()
        pipe.unlink()
    assert descriptors() == before


@pytest.mark.parametrize(
    ("offset", "size"), [(-1, 1), (0, 0), (0, True), (0, "1"), (2**63, 1), (0, None)]
)
def test_offset_and_size_are_whole_numbers(
    regions: Regions, key: str, offset: Any, size: Any
) -> None:
    with pytest.raises(MalformedRequest, match=r"byte_size|offset"):
        regions.register("r", key, offset, size)


def test_there_is_a_most_and_all_are_let_go(regions: Regions, key: str) -> None:
    before = descriptors()
    for number in range(MOST_REGIONS):
        regions.register(str(number), key, 0, 1)
    with pytest.raises(TooManyRegions, match="unregister some first"):
        regions.register("more", key, 0, 1)
    regions.unregister("0")
    regions.unregister("0")  # it is gone already
    regions.register("more", key, 0, 1)
    with pytest.raises(AlreadyExists):
        regions.register("more", key, 0, 1)
    regions.unregister()
    assert (regions.status(), descriptors()) == ([], before)


def test_a_place_is_within_its_region_and_the_limit(key: str) -> None:
    regions = Regions(enabled=True, limit_bytes=16)
    regions.register("r", key, 0, 32)
    wrong: list[tuple[Place, type[HeadraceError]]] = [
        (Place("r", 32, 1), InvalidInput),
        (Place("r", 0, 17), BodyTooLarge),
        (Place("s", 0, 1), RegionNotFound),
    ]
    for place, error in wrong:
        with pytest.raises(error):
            regions.read("x", place)
    regions.unregister()


@pytest.mark.parametrize(
    "parameters",
    [
        {"shared_memory_region": 1, "shared_memory_byte_size": 1},
        {"shared_memory_region": None, "shared_memory_byte_size": 1},
        {"shared_memory_region": "", "shared_memory_byte_size": 1},
        {"shared_memory_region": "r"},
        {"shared_memory_region": "r", "shared_memory_byte_size": "1"},
        {"shared_memory_region": "r", "shared_memory_byte_size": -1},
        {"shared_memory_region": "r", "shared_memory_byte_size": 1, "shared_memory_offset": 0.5},
    ],
)
def test_parameters_that_are_no_place(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="tensor 'x'"):
        read_place("x", parameters)


def test_parameters_that_are_a_place() -> None:
    assert read_place("x", {"shared_memory_byte_size": 1}) is None
    given = {"shared_memory_region": "r", "shared_memory_byte_size": 1}
    assert read_place("x", given) == Place("r", 0, 1)


def test_all_tensors_of_a_request_together_have_the_limit_of_a_body(
    regions: Regions, key: str
) -> None:
    regions.register("r", key, 0, SIZE)
    place, reading = Place("r", 0, SIZE // 2), Reading(regions)
    reading.read("a", place)
    reading.read("b", place)
    with pytest.raises(BodyTooLarge):
        reading.read("c", place)
    assert Reading(regions).read("d", place)


def test_a_region_has_a_name_of_some_length(regions: Regions, key: str) -> None:
    for name in ("", "a" * 256):
        with pytest.raises(MalformedRequest, match="needs a name"):
            regions.register(name, key, 0, 1)
