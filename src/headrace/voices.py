"""The receivers as the supervisor hears them: one conversation each, over one socket.

Whoever connects is greeted with all there is to know, and heard until it leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from headrace.control import (
    Ask,
    Emptied,
    Gather,
    NotServed,
    Recalled,
    ReceiverReady,
    Seen,
    Told,
    Used,
    from_receiver,
)
from headrace.message import LINE_LIMIT_BYTES, Message, line
from headrace.observe.together import Topic
from headrace.order import Order

# Of what was not understood so much is logged.
_TOLD = 300
# Of a question; a receiver that takes longer has a second of work before it.
_ANSWER_TIMEOUT_S = 1.0

Words = ReceiverReady | NotServed | Emptied | Recalled | Used | Seen | Gather | Order


class Voice:
    """One receiver, as long as it is there."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def tell(self, message: Message) -> None:
        """Say something, if it still hears."""
        if not self._writer.is_closing():
            self._writer.write(line(message))


class Listener(NamedTuple):
    """Who is told when a receiver comes, says something, and goes."""

    greet: Callable[[Voice], None]
    hear: Callable[[Words, Voice], None]
    left: Callable[[Voice], None]


class Voices:
    """All that are there now; for the supervisor's event loop."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._there: dict[Voice, None] = {}
        self._questions: dict[int, tuple[Voice, asyncio.Future[str]]] = {}
        self._numbers = itertools.count(1)
        self._log = structlog.get_logger("headrace")

    def __len__(self) -> int:
        """How many there are."""
        return len(self._there)

    def __contains__(self, voice: Voice) -> bool:
        """Whether it is still there."""
        return voice in self._there

    def tell(self, message: Message) -> None:
        """Say something to all."""
        for voice in self._there:
            voice.tell(message)

    async def ask(self, topic: Topic) -> Mapping[Voice, str | None]:
        """Ask all of a topic; None of those that do not answer in time."""
        asked = {voice: self._question(voice, topic) for voice in self._there}
        if asked:
            await asyncio.wait(asked.values(), timeout=_ANSWER_TIMEOUT_S)
        answers: dict[Voice, str | None] = {}
        for voice, future in asked.items():
            answered = future.done() and not future.cancelled()
            answers[voice] = future.result() if answered else None
            future.cancel()
        return answers

    @contextlib.asynccontextmanager
    async def listen(self, path: Path) -> AsyncIterator[None]:
        """Let receivers connect, inside the context."""
        server = await asyncio.start_unix_server(self._converse, path, limit=LINE_LIMIT_BYTES)
        try:
            yield
        finally:
            server.close()

    def _question(self, voice: Voice, topic: Topic) -> asyncio.Future[str]:
        number = next(self._numbers)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._questions[number] = voice, future
        future.add_done_callback(lambda _: self._questions.pop(number, None))
        voice.tell(Ask(question=number, topic=topic))
        return future

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        voice = Voice(writer)
        self._there[voice] = None
        try:
            self._listener.greet(voice)
            with contextlib.suppress(ConnectionError):  # it died: who waits for it will hear
                while (message := await self._next(reader)) is not None:
                    self._take(message, voice)
        finally:
            del self._there[voice]
            for asked, future in list(self._questions.values()):
                if asked is voice:
                    future.cancel()
            self._listener.left(voice)
            writer.close()

    async def _next(self, reader: asyncio.StreamReader) -> Words | Told | None:
        """The next line that can be read; None: there are no more.

        Clients have a part in what is in one. Whatever that is, the receiver must be heard on.
        """
        while True:
            try:
                text = await reader.readline()
                return from_receiver.validate_json(text) if text else None
            except ValueError as error:  # too long, too deep, or nothing that is known
                self._log.error("receiver_not_understood", reason=str(error)[:_TOLD])

    def _take(self, message: Words | Told, voice: Voice) -> None:
        if isinstance(message, Told):
            _, future = self._questions.get(message.question, (voice, None))
            if future is not None and not future.done():
                future.set_result(message.text)
        else:
            self._listener.hear(message, voice)
