"""The receiver is asked for what it has kept, and nothing of that is left lying about."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog.testing

from headrace.control import Recall, Recalled
from headrace.loader import shadow
from headrace.loader.shadow import Shadow
from headrace.loader.store import FoundVersion
from headrace.message import Message
from headrace.settings import ModelSettings
from headrace.verify import Verify


def _found(path: Path, mode: str = "shadow") -> FoundVersion:
    settings = ModelSettings(verify=Verify.model_validate(mode))
    return FoundVersion("m", 2, path / "m.onnx", path, settings)


def _left(folder: Path) -> list[Path]:
    return list(folder.iterdir())


class Receiver:
    """Writes a file and says that so many requests are in it, when told to."""

    def __init__(self, folder: Path, samples: int) -> None:
        self.asked: list[Recall] = []
        self._samples = samples
        self.shadow = Shadow(folder, self._hear)

    def _hear(self, message: Message) -> None:
        assert isinstance(message, Recall)
        self.asked.append(message)
        asyncio.get_running_loop().call_soon(self.answer, message)

    def answer(self, recall: Recall) -> None:
        if self._samples:
            Path(recall.path).write_text("samples")
        self.shadow.answer(Recalled(question=recall.question, samples=self._samples))


class Silent(Receiver):
    """Does not answer before the test does it."""

    def _hear(self, message: Message) -> None:
        assert isinstance(message, Recall)
        self.asked.append(message)


async def test_the_file_is_there_until_it_is_not_needed_any_more(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, samples=3)
    async with receiver.shadow.samples(_found(tmp_path), [1]) as path:
        assert path is not None
        assert path.read_text() == "samples"
    assert not _left(tmp_path)
    assert [(one.name, one.versions) for one in receiver.asked] == [("m", (1,))]


@pytest.mark.parametrize(("serving", "asked"), [([1, 3], (3, 1)), ([2, 3], (2,))])
async def test_it_is_itself_or_else_the_newest_that_has_answered(
    tmp_path: Path, serving: list[int], asked: tuple[int, ...]
) -> None:
    receiver = Receiver(tmp_path, samples=1)
    async with receiver.shadow.samples(_found(tmp_path), serving):
        assert [one.versions for one in receiver.asked] == [asked]


async def test_two_loads_have_a_file_each(tmp_path: Path) -> None:
    asks = Receiver(tmp_path, samples=1).shadow
    async with (
        asks.samples(_found(tmp_path), [1]) as one,
        asks.samples(_found(tmp_path), [1]) as other,
    ):
        assert one != other


@pytest.mark.parametrize(("mode", "serving"), [("off", [1]), ("shadow", [])])
async def test_nobody_is_asked_where_nothing_is_to_be_compared(
    tmp_path: Path, mode: str, serving: list[int]
) -> None:
    receiver = Receiver(tmp_path, samples=1)
    async with receiver.shadow.samples(_found(tmp_path, mode), serving) as path:
        assert path is None
    assert not receiver.asked


async def test_that_nothing_has_been_kept_is_logged(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with Receiver(tmp_path, samples=0).shadow.samples(_found(tmp_path), [1]) as path:
            assert path is None
    (line,) = lines
    assert (line["event"], line["with_versions"]) == ("nothing_to_compare", (1,))
    assert line["reason"] == "no request has been kept yet"


async def test_that_none_of_the_others_is_in_memory_is_logged(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, samples=1)
    with structlog.testing.capture_logs() as lines:
        async with receiver.shadow.samples(_found(tmp_path), [], [1]) as path:
            assert path is None
        async with receiver.shadow.samples(_found(tmp_path, "off"), [], [1]) as path:
            assert path is None
    (line,) = lines
    assert (line["event"], line["with_versions"]) == ("nothing_to_compare", (1,))
    assert line["reason"] == "none of them is in memory"
    assert not receiver.asked


async def test_a_receiver_that_dies_holds_nothing_up(tmp_path: Path) -> None:
    receiver = Silent(tmp_path, samples=1)

    async def load() -> Path | None:
        async with receiver.shadow.samples(_found(tmp_path), [1]) as path:
            return path

    loading = asyncio.create_task(load())
    await asyncio.sleep(0)  # until it waits
    assert receiver.asked
    receiver.shadow.alone()
    with structlog.testing.capture_logs() as lines:
        assert await loading is None
    assert lines[0]["reason"] == "the receiver does not answer"


async def test_what_comes_too_late_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "_ANSWER_TIMEOUT_S", 0.0)
    receiver = Silent(tmp_path, samples=1)
    async with receiver.shadow.samples(_found(tmp_path), [1]) as path:
        assert path is None
    receiver.answer(receiver.asked[0])
    assert not _left(tmp_path)
