"""Sockets: connected within a call's time, and looked at while they rest.

A name may have several addresses, and one that leads nowhere (often IPv6) neither refuses nor
answers: each has a part of the time only, so that there is some for the next.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Sequence
from typing import Any

from headrace.client.deadline import left

_LONGEST_S = 3.0  # with others behind it; a first packet that was lost is sent anew after 1 s

Place = tuple[Any, ...]
"""An address as ``socket.getaddrinfo`` gives it."""


def connect(places: Sequence[Place], ends_s: float) -> socket.socket:
    """Connect to the first of them that can be had.

    Raises:
        OSError: none can; it is that of the last.
        Expired: the time is over.
    """
    failure = OSError("it has no address")
    for others, place in _counted(places):
        try:
            return _connect(place, part_s(left(ends_s), others))
        except OSError as error:
            failure = error
    raise failure


async def connect_async(places: Sequence[Place], ends_s: float) -> socket.socket:
    """``connect`` for an event loop."""
    failure = OSError("it has no address")
    for others, place in _counted(places):
        try:
            return await _connect_async(place, part_s(left(ends_s), others))
        except OSError as error:
            failure = error
    raise failure


def part_s(left_s: float, others: int) -> float:
    """How much of the time that is left an address may have, with so many others behind it."""
    return min(_LONGEST_S, left_s / (others + 1)) if others else left_s


def has_news(fd: int) -> bool:
    """Whether something has arrived at a socket, be it bytes or the end."""
    if fd < 0:  # it is closed
        return True
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _counted(places: Sequence[Place]) -> list[tuple[int, Place]]:
    return list(zip(reversed(range(len(places))), places, strict=True))


def _connect(place: Place, limit_s: float) -> socket.socket:
    family, kind, protocol, _, where = place
    opened = socket.socket(family, kind, protocol)
    try:
        opened.settimeout(limit_s)
        opened.connect(where)
    except BaseException:
        opened.close()
        raise
    return opened


async def _connect_async(place: Place, limit_s: float) -> socket.socket:
    family, kind, protocol, _, where = place
    opened = socket.socket(family, kind, protocol)
    try:
        opened.settimeout(0)
        async with asyncio.timeout(limit_s):
            await asyncio.get_running_loop().sock_connect(opened, where)
    except BaseException:
        opened.close()
        raise
    return opened
