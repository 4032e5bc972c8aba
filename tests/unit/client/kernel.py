"""What the kernel says of clients' sockets: tests need not guess when bytes are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def sockets_to(address: str, *states: str) -> int:
    """How many of the kernel's sockets are connected to there (01), or left by the server (08)."""
    return sum(words[3] in (states or ("01", "08")) for words in _clients(address))


def unread_bytes(address: str) -> int:
    """How much has arrived from there that its clients have not fetched yet."""
    return sum(int(words[4].partition(":")[2], 16) for words in _clients(address))


def _clients(address: str) -> Iterator[list[str]]:
    there = f":{int(address.rpartition(':')[2]):04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines():
        words = line.split()
        if words[2].endswith(there):
            yield words
