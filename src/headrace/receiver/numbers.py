"""What this receiver has counted, by topic, and what all receivers of the server have together.

Where there is one, those are the same. Else the supervisor asks all of them and adds up
(``observe.together``): whoever asks a server must not notice how many receivers it has.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable

from headrace.observe import tfserving
from headrace.observe.together import Topic
from headrace.receiver.catalog import Catalog
from headrace.receiver.oip import statistics
from headrace.receiver.plain.models import lately, seen, which

Gather = Callable[[Topic], Awaitable[str]]
"""Ask the supervisor what all receivers have counted of a topic."""


class Numbers:
    """Tells them; without ``gather`` there is one receiver."""

    def __init__(
        self, catalog: Catalog, page: Callable[[], Awaitable[str]], gather: Gather | None = None
    ) -> None:
        self._catalog = catalog
        self._page = page
        self._gather = gather

    async def all(self, topic: Topic) -> str:
        """What all have counted.

        Raises:
            NotReady: the supervisor does not answer.
        """
        return await (self.own(topic) if self._gather is None else self._gather(topic))

    async def own(self, topic: Topic) -> str:
        """What this one has counted."""
        match topic:
            case Topic.METRICS:
                return await self._page()
            case Topic.TFSERVING:
                return tfserving.page(self._catalog.asked).decode()
            case Topic.SLOWEST:
                now_s = time.monotonic()
                served = self._catalog.served()
                things = [thing for one in served for thing in one.metrics.slowest.things(now_s)]
                return json.dumps([thing.described() for thing in things])
            case Topic.STATISTICS:
                return json.dumps(statistics.describe(self._catalog.served()))
            case Topic.SEEN | Topic.RECENT:
                tell = seen if topic is Topic.SEEN else lately
                told = {which(one): tell(one) for one in self._catalog.served()}
                return json.dumps({name: one for name, one in told.items() if one is not None})
            case Topic.NOTHING:
                return ""
