"""The page's own server and the tasks beside it, from start to end. Needs the extra."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from headrace.dashboard.pages import build
from headrace.dashboard.watch import Board, watch

# What a browser that stays open may hold up the end.
_LAST_WORDS_S = 2
# Orders of people that are waited for at once: a load may take an hour, and more of them wait here.
_MOST_ORDERS = 64


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it: ending is no failure, and has a status of 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(
    board: Board, hosts: Sequence[str], listener: socket.socket, ready: Callable[[], None]
) -> None:
    """Answer on a socket that listens, under these names, until SIGTERM or Ctrl-C.

    A second one ends it at once: an order to a server may still be waited for.
    """
    config = uvicorn.Config(
        build(board, hosts), log_level="warning", timeout_graceful_shutdown=_LAST_WORDS_S
    )
    server, loop = _Server(config), asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_MOST_ORDERS, "order"))

    def end() -> None:
        server.should_exit = True
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(watch(board, one)) for one in board.watched]
        beside.append(tasks.create_task(board.limits.run()))
        ready()
        await server.serve(sockets=[listener])
        for task in beside:
            task.cancel()
