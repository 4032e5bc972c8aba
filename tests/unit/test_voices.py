"""The supervisor's side of several receivers: all hear, each is asked, and who dies is missed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace import voices as module
from headrace.control import (
    Ask,
    Complete,
    Emptied,
    ModelServing,
    ModelState,
    Told,
    to_receiver,
)
from headrace.gathering import Gathering
from headrace.message import Message, line
from headrace.observe.together import Topic
from headrace.settings import ModelSettings
from headrace.values import Signature
from headrace.voices import Listener, Voice, Voices, Words
from tests.profiles import plain


class Receiver:
    """Answers what it is asked with what the test says, or not at all."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answer: str | None = "[]"
        self.heard: list[Any] = []
        self.asked = asyncio.Event()
        self.writer = writer
        self._reader = reader
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while text := await self._reader.readline():
            message = to_receiver.validate_json(text)
            self.heard.append(message)
            if isinstance(message, Ask):
                self.asked.set()
            if isinstance(message, Ask) and self.answer is not None:
                self.writer.write(line(Told(question=message.question, text=self.answer)))

    async def leave(self) -> None:
        self.writer.close()
        await self.task


class Scene:
    """A supervisor that notes what it hears."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[Words] = []
        self.news = asyncio.Event()
        self.voices = Voices(Listener(lambda _: self.news.set(), self._hear, self._left))
        self.gathering = Gathering(self.voices)

    def _hear(self, message: Words, _: Voice) -> None:
        self.heard.append(message)
        self.news.set()

    def _left(self, voice: Voice) -> None:
        self.gathering.left(voice)
        self.news.set()

    async def connect(self) -> Receiver:
        before = len(self.voices)
        receiver = Receiver(*await asyncio.open_unix_connection(self.path))
        while len(self.voices) == before:
            self.news.clear()
            await self.news.wait()
        return receiver

    async def left(self, receiver: Receiver) -> None:
        before = len(self.voices)
        await receiver.leave()
        while len(self.voices) == before:
            self.news.clear()
            await self.news.wait()

    async def slowest(self) -> list[Any]:
        found: list[Any] = json.loads(await self.gathering.of(Topic.SLOWEST))
        return sorted(found)


@contextlib.asynccontextmanager
async def _scene(folder: Path) -> AsyncIterator[Scene]:
    scene = Scene(folder / "control.sock")
    async with asyncio.timeout(20), scene.voices.listen(scene.path):
        yield scene


def _serving(*, replaces: bool, batched: bool = True) -> ModelServing:
    profile = plain(Signature((), (), batched=batched))
    return ModelServing(
        name="m",
        version=1,
        socket_path="s",
        settings=ModelSettings(),
        profile=profile,
        replaces=replaces,
    )


async def test_all_hear_what_is_told_and_each_is_heard(tmp_path: Path) -> None:
    async with _scene(tmp_path) as scene:
        one, other = await scene.connect(), await scene.connect()
        scene.voices.tell(Complete())
        await scene.voices.ask(Topic.NOTHING)
        assert [type(message) for message in one.heard] == [Complete, Ask]
        assert [type(message) for message in other.heard] == [Complete, Ask]
        other.writer.write(line(Emptied(socket_path="s")))
        while not scene.heard:
            scene.news.clear()
            await scene.news.wait()
        assert scene.heard == [Emptied(socket_path="s")]
        await scene.left(one)
        await scene.left(other)


async def test_what_cannot_be_read_is_passed_over_and_the_receiver_heard_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_LIMIT_BYTES", 4096)
    deep = b'{"kind":"load","name":"m","overrides":{"slo_ms":' + b"[" * 250 + b"]" * 250 + b"}}\n"
    async with _scene(tmp_path) as scene:
        one = await scene.connect()
        for unreadable in (deep, b"x" * 100_000 + b"\n", b"{}\n", b'{"kind": "load", "\xff'):
            one.writer.write(unreadable)
        one.writer.write(b"\n" + line(Emptied(socket_path="s")))
        while not scene.heard:
            scene.news.clear()
            await scene.news.wait()
        assert scene.heard == [Emptied(socket_path="s")]
        assert len(scene.voices) == 1
        await scene.left(one)


async def test_the_last_words_count_of_one_that_does_not_answer_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWER_TIMEOUT_S", 0.05)
    async with _scene(tmp_path) as scene:
        one, other = await scene.connect(), await scene.connect()
        one.answer, other.answer = "[1]", "[2]"
        assert await scene.slowest() == [1, 2]
        one.answer, other.answer = "[3]", None
        assert await scene.slowest() == [2, 3]
        await scene.left(one)
        await scene.left(other)


async def test_counts_of_the_dead_go_on_to_count(tmp_path: Path) -> None:
    async with _scene(tmp_path) as scene:
        one, other = await scene.connect(), await scene.connect()
        one.answer, other.answer = (json.dumps({"m/1": _seen(answered)}) for answered in (3, 4))
        assert await _answered(scene) == 7
        await scene.left(other)
        assert await _answered(scene) == 7
        third = await scene.connect()
        third.answer = json.dumps({"m/1": _seen(5)})
        assert await _answered(scene) == 12
        await scene.left(one)
        await scene.left(third)
        assert await _answered(scene) == 12


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        (ModelState(name="m", version=1, state="draining"), 0),
        (ModelState(name="m", version=1, state="evicting"), 0),
        (ModelState(name="m", version=1, state="failed"), 0),
        (ModelState(name="m", version=1, state="recovering"), 7),
        (ModelState(name="m", version=2, state="draining"), 7),
        (ModelState(name="n", version=1, state="draining"), 7),
        (_serving(replaces=True), 0),
        (_serving(replaces=False), 7),
    ],
)
async def test_of_a_version_that_ends_nothing_counts_on(
    tmp_path: Path, message: Message, counted: int
) -> None:
    async with _scene(tmp_path) as scene:
        one, other, last = [await scene.connect() for _ in range(3)]
        one.answer = other.answer = json.dumps({"m/1": _seen(3), "o/1": _seen(1)})
        last.answer = json.dumps({"m/1": _seen(1)})
        assert await _answered(scene) == 7
        await scene.left(other)  # before the version ends
        scene.gathering.told(message)
        await scene.left(one)  # after, before it was asked again
        last.answer = "{}"
        assert await _answered(scene) == max(0, counted - 1)
        assert await _answered(scene, "o/1") == 2
        await scene.left(last)


@pytest.mark.parametrize(("batched", "counted"), [(True, 3), (False, 0)])
async def test_of_a_version_that_has_changed_where_it_lies_nothing_counts_on(
    tmp_path: Path, *, batched: bool, counted: int
) -> None:
    async with _scene(tmp_path) as scene:
        scene.gathering.told(_serving(replaces=False))
        one, other = await scene.connect(), await scene.connect()
        one.answer, other.answer = json.dumps({"m/1": _seen(3)}), "{}"
        assert await _answered(scene) == 3
        await scene.left(one)
        scene.gathering.told(_serving(replaces=False, batched=batched))
        assert await _answered(scene) == counted
        await scene.left(other)


async def test_statistics_of_a_version_that_ends_are_gone(tmp_path: Path) -> None:
    async with _scene(tmp_path) as scene:
        one = await scene.connect()
        one.answer = json.dumps([{"name": "m", "version": "1"}, {"name": "m", "version": "2"}])
        await scene.gathering.of(Topic.STATISTICS)
        await scene.left(one)
        scene.gathering.told(ModelState(name="m", version=1, state="unloaded"))
        found = json.loads(await scene.gathering.of(Topic.STATISTICS))
        assert found == [{"name": "m", "version": "2"}]


async def test_who_leaves_while_asked_is_not_waited_for(tmp_path: Path) -> None:
    async with _scene(tmp_path) as scene:
        one, other = await scene.connect(), await scene.connect()
        one.answer, other.answer = "[1]", None
        asked = asyncio.create_task(scene.slowest())
        await other.asked.wait()
        await scene.left(other)
        assert await asked == [1]
        await scene.left(one)


def _seen(answered: int) -> dict[str, Any]:
    return {"cpu_s": 0, "answered": answered, "tail_ratio": 1, "handover_s": 0, "runs": []}


async def _answered(scene: Scene, which: str = "m/1") -> int:
    found: int = json.loads(await scene.gathering.of(Topic.SEEN)).get(which, _seen(0))["answered"]
    return found
