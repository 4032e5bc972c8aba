"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack, overload

from headrace.client.calls import TIMEOUT_S, Calls, make_transport, version_text
from headrace.client.options import OptionKeys, Options
from headrace.client.question import Question, Transport, Value
from headrace.client.result import ModelMetadata, ModelState, Result, ServerMetadata
from headrace.client.retry import RetryPolicy
from headrace.client.tensors import Inputs, needs_metadata
from headrace.errors import ClientError, HeadraceError


class Client(Calls):
    """Asks a server, from any number of threads at once; arguments as of ``Calls``."""

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
        self._transport: Transport = make_transport(self._address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; a second time does nothing."""
        self._transport.close()

    def infer(self, model: str, inputs: Inputs, **options: Unpack[OptionKeys]) -> Result:
        """Run a model; ``inputs`` is name → array, or the array alone where there is one input.

        Arrays are sent as they are. Nested lists become what the model says it takes, for which it
        is asked once. ``options`` are the fields of ``options.Options``.

        Raises:
            HeadraceError: the server's own error, or that it was not reached in time.
        """
        asked = Options(**options)
        ends_s = self._end_s(asked.timeout_s)
        metadata = self._known(model, asked, ends_s) if needs_metadata(inputs, asked) else None
        question = self._prepare(model, inputs, asked, metadata)
        try:
            return self._ask(question, ends_s)
        except ClientError:
            self._forget(model, asked)
            raise

    def live(self) -> bool:
        """Whether the server says that it is up.

        Raises:
            HeadraceError: nobody is there to say so.
        """
        return self._ask(self._codec.live(), self._end_s())

    def ready(self, model: str = "", *, version: int | str | None = None) -> bool:
        """Whether the server, or one model, can be asked now; a model it does not know cannot.

        Raises:
            HeadraceError: nobody is there to say so.
        """
        return self._ask(self._codec.ready(model, version_text(version)), self._end_s())

    @overload
    def metadata(self) -> ServerMetadata: ...
    @overload
    def metadata(self, model: str, *, version: int | str | None = None) -> ModelMetadata: ...
    def metadata(
        self, model: str = "", *, version: int | str | None = None
    ) -> ServerMetadata | ModelMetadata:
        """What the server, or one of its models, says of itself.

        Raises:
            HeadraceError: there is no such model, or nobody to ask.
        """
        if not model:
            return self._ask(self._codec.server(), self._end_s())
        return self._ask(self._codec.model(model, version_text(version)), self._end_s())

    def models(self) -> tuple[ModelState, ...]:
        """Every version in the server's repository, with its state.

        Raises:
            HeadraceError: the server does not speak of its repository, or nobody is there.
        """
        return self._ask(self._codec.models(), self._end_s())

    def _known(self, model: str, options: Options, ends_s: float) -> ModelMetadata:
        key = (model, version_text(options.version))
        found = self._metadata.get(key)
        return found or self._remember(key, self._ask(self._codec.model(*key), ends_s))

    def _ask(self, question: Question[Value], ends_s: float) -> Value:
        failures: list[HeadraceError] = []
        while True:
            try:
                value = question.read(self._transport.send(question, ends_s))
            except HeadraceError as error:
                failures.append(error)
                pause_s = self._pause_s(failures, ends_s, question)
                if pause_s is None:
                    raise
            else:
                self._budget.succeed()
                return value
            time.sleep(pause_s)
