"""Files are read in threads, in order, within bounds and deadlines."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from headrace.errors import BodyTooLarge, Expired, InvalidInput, QueueFull
from headrace.receiver.plain.decoding import Decoding, Job


async def test_files_are_read_in_order_and_not_on_the_loop() -> None:
    threads = set()

    def read(data: bytes) -> bytes:
        threads.add(threading.current_thread())
        return data[::-1]

    jobs = [Job(read, b"%dx" % number) for number in range(20)]
    assert await Decoding().run(jobs, None) == [
        b"x%d" % n if n < 10 else b"x%s" % str(n)[::-1].encode() for n in range(20)
    ]
    assert threading.current_thread() not in threads


async def test_more_files_than_may_wait_are_refused_at_once() -> None:
    go, decoding = threading.Event(), Decoding(most_waiting=2)
    waiting = asyncio.ensure_future(decoding.run([Job(lambda _: go.wait(10), b"")] * 2, None))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="2 files wait to be decoded already"):
        await decoding.run([Job(bytes, b"")], None)
    go.set()
    assert await waiting == [True, True]
    while True:  # the count follows a moment later
        try:
            assert await decoding.run([Job(bytes, b"a")], None) == [b"a"]
            break
        except QueueFull:
            await asyncio.sleep(0)


async def test_who_leaves_is_counted_until_the_thread_is_done() -> None:
    go, decoding = threading.Event(), Decoding(most_waiting=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(decoding.run([Job(lambda _: go.wait(10), b"")], None), 0.01)
    with pytest.raises(QueueFull):
        await decoding.run([Job(bytes, b"")], None)
    go.set()


async def test_a_file_whose_deadline_has_passed_is_not_read() -> None:
    with pytest.raises(Expired, match="while the file was decoded or waited for it"):
        await Decoding().run([Job(bytes, b"")], time.monotonic() - 1)


async def test_a_file_that_takes_longer_than_its_deadline_is_not_waited_for() -> None:
    go, decoding = threading.Event(), Decoding(most_waiting=1)
    with pytest.raises(Expired):
        await decoding.run([Job(lambda _: go.wait(60), b"")], time.monotonic() + 0.01)
    with pytest.raises(QueueFull):  # the thread still has it
        await decoding.run([Job(bytes, b"")], None)
    go.set()


async def test_the_first_error_is_told() -> None:
    def fail(data: bytes) -> bytes:
        raise InvalidInput(f"no {data!r}")

    with pytest.raises(InvalidInput, match="no b'a'"):
        await Decoding().run([Job(fail, b"a"), Job(bytes, b"")], None)


async def test_what_the_files_of_a_request_become_is_bounded() -> None:
    decoding = Decoding(most_bytes=2**20)
    jobs = [Job(lambda data: np.zeros(len(data) << 19, np.uint8), b"a")] * 2
    assert len(await decoding.run(jobs, None)) == 2
    assert len(await decoding.run(jobs, None)) == 2  # each request has its own
    with pytest.raises(BodyTooLarge, match="more than 1 MiB of tensors: send fewer at once"):
        await decoding.run([*jobs, *jobs], None)


async def test_when_one_fails_the_others_are_not_read() -> None:
    began, go, decoding = [], threading.Event(), Decoding()

    def fail(data: bytes) -> bytes:
        raise InvalidInput(f"no {data!r}")

    def read(data: bytes) -> bytes:
        began.append(data)
        go.wait(10)
        return data

    with pytest.raises(InvalidInput):
        await decoding.run([Job(fail, b""), *[Job(read, b"a")] * 200], None)
    go.set()
    assert await decoding.run([Job(bytes, b"b")], None) == [b"b"]
    assert len(began) <= 8  # what the threads had in hand
