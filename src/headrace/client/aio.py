"""The client for an event loop: as the one for threads, word for word, but awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack, overload

from headrace.client.calls import TIMEOUT_S, Calls, make_transport, version_text
from headrace.client.options import OptionKeys, Options
from headrace.client.question import AsyncTransport, Question, Value
from headrace.client.result import ModelMetadata, ModelState, Result, ServerMetadata
from headrace.client.retry import RetryPolicy
from headrace.client.tensors import Inputs, needs_metadata
from headrace.errors import ClientError, HeadraceError, InvalidArgument


class AsyncClient(Calls):
    """Asks a server, from any number of tasks of one event loop; arguments as of ``Calls``."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: Path | str | None = None,
        binary: bool = True,
    ) -> None:
        super().__init__(
            url, timeout_s=timeout_s, retry=retry, headers=headers, ca_file=ca_file, binary=binary
        )
        self._transport: AsyncTransport = make_transport(self._address, "Async")
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections; a second time does nothing."""
        await self._transport.close()

    async def infer(self, model: str, inputs: Inputs, **options: Unpack[OptionKeys]) -> Result:
        """Run a model; ``inputs`` is name → array, or the array alone where there is one input.

        Arrays are sent as they are. Nested lists become what the model says it takes, for which it
        is asked once. ``options`` are the fields of ``options.Options``.

        Raises:
            HeadraceError: the server's own error, or that it was not reached in time.
        """
        asked = Options(**options)
        ends_s = self._end_s(asked.timeout_s)
        metadata = (
            await self._known(model, asked, ends_s) if needs_metadata(inputs, asked) else None
        )
        question = self._prepare(model, inputs, asked, metadata)
        try:
            return await self._ask(question, ends_s)
        except ClientError:
            self._forget(model, asked)
            raise

    async def live(self) -> bool:
        """Whether the server says that it is up.

        Raises:
            HeadraceError: nobody is there to say so.
        """
        return await self._ask(self._codec.live(), self._end_s())

    async def ready(self, model: str = "", *, version: int | str | None = None) -> bool:
        """Whether the server, or one model, can be asked now; a model it does not know cannot.

        Raises:
            HeadraceError: nobody is there to say so.
        """
        return await self._ask(self._codec.ready(model, version_text(version)), self._end_s())

    @overload
    async def metadata(self) -> ServerMetadata: ...
    @overload
    async def metadata(self, model: str, *, version: int | str | None = None) -> ModelMetadata: ...
    async def metadata(
        self, model: str = "", *, version: int | str | None = None
    ) -> ServerMetadata | ModelMetadata:
        """What the server, or one of its models, says of itself.

        Raises:
            HeadraceError: there is no such model, or nobody to ask.
        """
        if not model:
            return await self._ask(self._codec.server(), self._end_s())
        return await self._ask(self._codec.model(model, version_text(version)), self._end_s())

    async def models(self) -> tuple[ModelState, ...]:
        """Every version in the server's repository, with its state.

        Raises:
            HeadraceError: the server does not speak of its repository, or nobody is there.
        """
        return await self._ask(self._codec.models(), self._end_s())

    async def _known(self, model: str, options: Options, ends_s: float) -> ModelMetadata:
        key = (model, version_text(options.version))
        found = self._metadata.get(key)
        return found or self._remember(key, await self._ask(self._codec.model(*key), ends_s))

    async def _ask(self, question: Question[Value], ends_s: float) -> Value:
        self._stay_in_one_loop()
        failures: list[HeadraceError] = []
        while True:
            try:
                value = question.read(await self._transport.send(question, ends_s))
            except HeadraceError as error:
                failures.append(error)
                pause_s = self._pause_s(failures, ends_s, question)
                if pause_s is None:
                    raise
            else:
                self._budget.succeed()
                return value
            await asyncio.sleep(pause_s)

    def _stay_in_one_loop(self) -> None:
        here = (asyncio.get_running_loop(), os.getpid())  # a forked child has its parent's loop
        if self._home is None:
            self._home = here
        elif self._home != here:
            raise InvalidArgument(
                "this client's connections belong to another event loop: make a client inside "
                "each asyncio.run, and in each process"
            )
