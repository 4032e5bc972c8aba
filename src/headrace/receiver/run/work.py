"""What an entry carries on its way through the scheduler and the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from headrace.receiver.exchange import Exchange
from headrace.receiver.run.shapes import Fit
from headrace.values import Array

Outputs = Mapping[str, Array]


class Work:
    """The inputs of an entry, how they fit, and the future its request waits on."""

    __slots__ = ("exchange", "fit", "future", "inputs")

    def __init__(
        self,
        inputs: Mapping[str, Array],
        fit: Fit,
        future: asyncio.Future[Outputs],
        exchange: Exchange,
    ) -> None:
        self.inputs = inputs
        self.fit = fit
        self.future = future
        self.exchange = exchange
