"""What a check is, and what may become of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.server import Server

WORKS = "works"
REFUSED = "refused"
"""The server answers with a typed error on purpose; the page says why."""


@dataclass(frozen=True, slots=True)
class World:
    """The live server, and the folder its models lie in."""

    server: Server
    root: Path

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``."""
        return self.server.address

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return self.server.url


Run = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One method of one client; ``run`` raises unless it did what it should."""

    client: str
    method: str
    run: Run
    verdict: str = WORKS


class Asker:
    """Calls the methods of a client, which may be coroutines or not."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Call a method and wait for it."""
        result = getattr(self.client, name)(*arguments, **named)
        return await result if inspect.isawaitable(result) else result

    async def refused(
        self, error: type[Exception], words: str, name: str, *arguments: Any, **named: Any
    ) -> None:
        """Call a method that the server should refuse with these words."""
        try:
            await self.ask(name, *arguments, **named)
        except error as refusal:
            if not re.search(words, str(refusal)):
                raise AssertionError(f"{name} was refused with {refusal}, not {words!r}") from None
            return
        raise AssertionError(f"{name} was not refused")


def public(client: type) -> set[str]:
    """The methods of a client that are not its own business."""
    return {name for name, _ in inspect.getmembers(client) if not name.startswith("_")}
