"""Orders to the supervisor: passed on, and done when it has said what became of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping

from headrace.codes import rebuild
from headrace.control import Done
from headrace.errors import BodyTooLarge, NotAllowed
from headrace.message import LINE_LIMIT_BYTES, Message, line
from headrace.order import NOT_ALLOWED, Demand, Order
from headrace.receiver.model_files import ModelFiles

_ANSWERED_S = 0.05


class Orders:
    """Those of one receiver; for the event loop's thread.

    ``allowed`` says whether clients may order anything. ``tell`` tells the supervisor, ``use`` what
    its decisions may rest on: how versions are used.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        files: ModelFiles,
        tell: Callable[[Message], None],
        use: Callable[[], None],
    ) -> None:
        self.allowed = False
        self._loop = loop
        self._files = files
        self._tell = tell
        self._use = use
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def command(self, order: Order, files: Mapping[str, bytes]) -> None:
        """Have the supervisor carry out what a client orders; returns when it is done.

        Raises:
            NotAllowed: clients may not order anything.
            HeadraceError: why it could not be.
        """
        if not self.allowed:  # nothing of it is written, passed on or logged
            raise NotAllowed(NOT_ALLOWED)
        number = next(self._numbers)
        changes: dict[str, object] = {}
        async with self._files.written(number, files) as folder:
            if folder is not None:
                changes["folder"] = str(folder)
            done = self._pass(number, order.model_copy(update=changes))
        await done

    def ask(self, name: str, version: int) -> asyncio.Future[None]:
        """Have the supervisor load a listed version; see ``on_demand.Ask``."""
        done = self._pass(next(self._numbers), Demand(name=name, version=version))
        # By then those who have waited have their answers, and others may have the place.
        done.add_done_callback(lambda _: self._loop.call_later(_ANSWERED_S, self._use))
        return done

    def end(self, done: Done) -> None:
        """An order has been carried out, or not."""
        future = self._waiting.get(done.order)
        if future is None or future.done():
            return
        if done.code is None:
            future.set_result(None)
        else:
            future.set_exception(rebuild(done.code, done.message))

    def _pass(self, number: int, order: Order) -> asyncio.Future[None]:
        """Pass an order on.

        Raises:
            BodyTooLarge: it is longer than the supervisor reads.
        """
        numbered = order.model_copy(update={"order": number})
        size_bytes = len(line(numbered))
        if size_bytes > LINE_LIMIT_BYTES:
            raise BodyTooLarge(f"an order of {size_bytes} bytes: name fewer models or settings")
        done = self._waiting[number] = self._loop.create_future()
        done.add_done_callback(lambda _: self._waiting.pop(number))
        self._use()
        self._tell(numbered)
        return done
