"""The four clients with one face: over HTTP and gRPC, for threads and for an event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import headrace

KINDS = ("http", "grpc", "http-aio", "grpc-aio")


class Face:
    """An ``AsyncClient`` that is called as a ``Client`` is, in a loop of its own."""

    def __init__(self, client: headrace.AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **keys: Any) -> Any:
            async def run() -> Any:
                return await method(*arguments, **keys)

            assert inspect.iscoroutinefunction(method)
            return self._runner.run(run())

        return call


@contextmanager
def opened(kind: str, address: str, **keys: Any) -> Iterator[Any]:
    """A client of that kind, closed in the end."""
    scheme, _, aio = kind.partition("-")
    url = f"{scheme}://{address}"
    if not aio:
        with headrace.Client(url, **keys) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        face = Face(headrace.AsyncClient(url, **keys), runner)
        yield face
        face.close()
