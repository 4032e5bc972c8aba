"""The receiver processes of one server: they listen on the same ports, and each is kept alive.

The first picks the ports that were left free to choose; the others, and whoever replaces one that
died, listen on the same. The kernel gives each connection to one of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from headrace.errors import StartError
from headrace.loader.lifecycle import Backoff
from headrace.receiver.envoy import Address
from headrace.receiver.process import ReceiverProcess
from headrace.server_settings import ServerSettings

# Without a receiver the whole server is away: one that has lived so long is waited for no longer.
_QUIET_S = 10.0


class Receivers:
    """Starts, restarts and drains them; ``on_listening`` is called when one listens."""

    def __init__(
        self,
        settings: ServerSettings,
        addresses: Sequence[Address],
        runtime_dir: Path,
        on_listening: Callable[[], None],
    ) -> None:
        self.addresses = tuple(addresses)
        self._settings = settings
        self._runtime_dir = runtime_dir
        self._on_listening = on_listening
        self._there: dict[int, ReceiverProcess] = {}
        self._keeping: dict[int, asyncio.Task[None]] = {}
        self._picked = asyncio.Event()
        self._stopping = False
        self._log = structlog.get_logger("headrace")

    @property
    def all_listen(self) -> bool:
        """Whether there are as many as there should be."""
        return len(self._there) == self._settings.receivers

    async def run(self) -> None:
        """Keep them, until cancelled.

        Raises:
            StartError: one did not come up at the start.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.receivers):
                self._keeping[number] = group.create_task(self._keep(number))

    async def drain(self, timeout_s: float, hurry: asyncio.Event) -> bool:
        """Close their listeners and wait for what is in flight; False when something still is.

        Those that do not listen yet are stopped: they would take what nobody will answer.
        """
        self._stopping = True
        coming = [task for number, task in self._keeping.items() if number not in self._there]
        for task in coming:
            task.cancel()
        drains = [one.drain(timeout_s, hurry) for one in self._there.values()]
        clean = all(await asyncio.gather(*drains))
        await asyncio.gather(*coming, return_exceptions=True)
        return clean

    async def _keep(self, number: int) -> None:
        """Run one, and another when it dies."""
        if number:
            await self._picked.wait()
        backoff = Backoff(quiet_s=_QUIET_S)
        reason = await self._live(number)
        while not self._stopping:
            delay_s = backoff.after_death(time.monotonic())
            self._log.error("receiver_died", reason=reason, restart_in_s=delay_s)
            await asyncio.sleep(delay_s)
            try:
                reason = await self._live(number)
            except StartError as error:
                reason = error.message

    async def _live(self, number: int) -> str:
        """Run one receiver from start to end; return why it ended.

        Raises:
            StartError: it did not come up.
        """
        receiver = ReceiverProcess(self._settings, self.addresses, self._runtime_dir, number)
        try:
            self.addresses = await receiver.start()
            self._there[number] = receiver
            self._picked.set()
            self._on_listening()
            return f"the receiver ended with status {await receiver.wait()}"
        finally:
            self._there.pop(number, None)
            await receiver.stop()
