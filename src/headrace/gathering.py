"""What all receivers have counted, with those that have died, for whichever of them is asked.

Counts must never fall, or a dashboard sees a burst where there was none: of a receiver that does
not answer in time its last words count, and what a dead one had last told counts on, as long as
those that live count the same version.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from headrace.control import ENDED, ModelServing, ModelState
from headrace.engine_control import Profile, is_alike
from headrace.message import Message
from headrace.observe.together import Topic, add_up, remains, without
from headrace.voices import Voice, Voices


class Gathering:
    """Asks all of a topic and adds up; for the supervisor's event loop."""

    def __init__(self, voices: Voices) -> None:
        self._voices = voices
        self._last: dict[Voice, dict[Topic, str]] = defaultdict(dict)
        self._dead: dict[Topic, str] = {}
        self._profiles: dict[tuple[str, int], Profile] = {}  # of what serves
        self._turns = {topic: asyncio.Lock() for topic in Topic}  # so many scrapes ask in turn

    async def of(self, topic: Topic) -> str:
        """What they have counted of it together."""
        async with self._turns[topic]:
            for voice, text in (await self._voices.ask(topic)).items():
                if text is not None and voice in self._voices:
                    self._last[voice][topic] = text
        told = [one[topic] for one in self._last.values() if topic in one]
        dead = self._dead.get(topic)
        return add_up(topic, told if dead is None else [*told, dead])

    def told(self, message: Message) -> None:
        """All are told this: what they begin to count anew, or count no more, is dropped."""
        match message:
            case ModelServing():
                if not self._begins_anew(message):
                    return
            case ModelState() if message.state in ENDED:
                self._profiles.pop((message.name, message.version), None)
            case _:
                return
        for texts in (self._dead, *self._last.values()):
            for topic, text in texts.items():
                texts[topic] = without(topic, text, message.name, message.version)

    def _begins_anew(self, message: ModelServing) -> bool:
        """Whether receivers compose a version anew: it is another, or has changed where it lies."""
        key = message.name, message.version
        before = self._profiles.get(key, message.profile)
        self._profiles[key] = message.profile
        return message.replaces or not is_alike(before, message.profile)

    def left(self, voice: Voice) -> None:
        """A receiver has gone: what it had counted stays counted."""
        for topic, text in self._last.pop(voice, {}).items():
            kept = remains(topic, text)
            if kept is not None:
                before = self._dead.get(topic)
                self._dead[topic] = kept if before is None else add_up(topic, [before, kept])
