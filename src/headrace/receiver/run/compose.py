"""What serves one version, made of its settings and its profile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace import media
from headrace.control import ModelServing, Seen
from headrace.cores import usable_cores
from headrace.observe.metrics import ModelMetrics
from headrace.receiver.catalog import ServedModel
from headrace.receiver.run.departures import Departures
from headrace.receiver.run.dispatch import Dispatcher
from headrace.receiver.run.gauges import gauges
from headrace.receiver.run.notes import Common
from headrace.receiver.run.owners import Owners
from headrace.receiver.run.sequences import Sequences
from headrace.receiver.run.turns import Devices
from headrace.results import build
from headrace.scheduler.known import Known
from headrace.server_settings import ServerSettings, Share


class Composer:
    """Composes: settings and profile → scheduler, processor, metrics, dispatcher.

    Where there are several receivers none of them steers, and models take no turns: each sees a
    part of what runs. What would need either is refused at the start (``loader.several``).
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, server: ServerSettings, tell: Callable[[Seen], None]
    ) -> None:
        self._loop = loop
        self._receivers = server.receivers
        self._tell = tell
        self._departures = Departures(loop)
        self._owners = Owners[Sequences]()
        fair = server.share is Share.FAIR and server.receivers == 1
        self._devices = Devices(usable_cores()) if fair else None

    async def compose(self, message: ModelServing) -> Dispatcher | Sequences:
        """Compose what serves a version."""
        settings, profile = message.settings, message.profile
        if self._receivers > 1:
            settings = settings.model_copy(update={"control": False})
        processor = build(profile.signature.unwrap(), settings.results, profile.labels)
        slo_s = None if settings.slo_ms is None else settings.slo_ms / 1e3
        metrics = ModelMetrics(message.name, message.version, profile.threads)
        known = Known(
            tuple((m.elements, m.rows, m.median_s, m.p95_s) for m in profile.measurements),
            sizes=profile.batch_sizes,
            pads=profile.pads,
            instances=profile.instances,
            slo_s=slo_s,
            max_queue=settings.max_queue,
            linger_s=settings.linger_ms / 1e3,
            stages=profile.stages,
            receivers=self._receivers,
        )
        place = None
        if self._devices is not None:
            turns = self._devices.turns(profile.device)
            place = turns.place(settings.weight, known.lanes, profile.threads, slo_s)
        scheduler = known.scheduler(None if place is None else place.turn)
        scheduler.pause()
        metrics.gauges |= gauges(scheduler)
        card, seen = settings.sequence, processor.signature
        if card is not None:
            seen = card.visible(seen)
        # A tokenizer is a file of some megabytes: others are answered while it is read.
        accepted = await asyncio.to_thread(media.build, seen, settings.accepts, message.tokenizers)
        served = ServedModel(
            name=message.name,
            version=message.version,
            signature=seen,
            settings=settings,
            labels=profile.labels,
            profile=profile,
            metrics=metrics,
            media=accepted,
            origins=message.origins,
            tuned=message.tuned,
            edition=message.edition,
        )

        def tell(shapes: Common) -> None:
            common = tuple(dict(item) for item in shapes)
            self._tell(Seen(name=message.name, shapes=common))

        dispatcher = Dispatcher(
            self._loop, served, scheduler, processor, self._departures, tell, place
        )
        if card is None:
            return dispatcher
        return Sequences(self._loop, dispatcher, card, self._owners)
