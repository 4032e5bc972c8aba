"""What engines have in memory is told when it changes, and to somebody new."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.control import Memory
from headrace.loader import memory
from headrace.loader.memory import EngineMemory, Key, Sizes
from headrace.message import Message

MIB = 2**20


class Scene:
    """Engines by their pids, each as large as the test says, and what was told."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.pids: dict[Key, int] = {}
        self.told: list[tuple[str, int, int]] = []
        self.memory = EngineMemory(lambda: self.pids, self.hear, Sizes())

    def hear(self, message: Message) -> None:
        assert isinstance(message, Memory)
        self.told.append((message.name, message.version, message.memory_bytes))

    def looked(self) -> list[tuple[str, int, int]]:
        self.told.clear()
        self.memory.look()
        return list(self.told)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()
    size_of: Callable[[int], int] = lambda pid: scene.sizes.get(pid, 0)  # noqa: E731
    for name in ("resident_bytes", "taken_bytes"):
        monkeypatch.setattr(memory, name, size_of)
    return scene


def test_only_what_has_changed_by_some_per_cent_is_told(scene: Scene) -> None:
    scene.pids, scene.sizes = {("a", 1): 7, ("b", 2): 8}, {7: 100 * MIB, 8: 50 * MIB}
    assert scene.looked() == [("a", 1, 100 * MIB), ("b", 2, 50 * MIB)]
    scene.sizes[7] = 101 * MIB
    assert scene.looked() == []
    scene.sizes[7] = 103 * MIB  # of what was told, not of what was seen last
    assert scene.looked() == [("a", 1, 103 * MIB)]


def test_one_that_has_gone_is_forgotten_and_told_anew_when_it_is_back(scene: Scene) -> None:
    scene.pids, scene.sizes = {("a", 1): 7}, {7: 100 * MIB}
    scene.looked()
    scene.pids = {}
    assert scene.looked() == []
    scene.memory.tell_again(scene.hear)
    assert scene.told == []
    scene.pids = {("a", 1): 7}
    assert scene.looked() == [("a", 1, 100 * MIB)]


def test_one_that_ends_just_now_is_not_told_as_empty(scene: Scene) -> None:
    scene.pids = {("a", 1): 7}
    assert scene.looked() == []


def test_somebody_new_is_told_all(scene: Scene) -> None:
    scene.pids, scene.sizes = {("a", 1): 7}, {7: 100 * MIB}
    scene.looked()
    scene.told.clear()
    scene.memory.tell_again(scene.hear)
    assert scene.told == [("a", 1, 100 * MIB)]


def test_what_a_process_takes_is_found_out_when_it_has_changed_or_on_demand(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def taken_bytes(pid: int) -> int:
        looked.append(pid)
        return scene.sizes[pid] // 2

    monkeypatch.setattr(memory, "taken_bytes", taken_bytes)
    sizes = Sizes()
    scene.sizes = {7: 100 * MIB, 8: 10 * MIB}
    assert [sizes.of(7), sizes.of(7), sizes.of(8)] == [50 * MIB, 50 * MIB, 5 * MIB]
    scene.sizes[7] = 101 * MIB
    assert (sizes.of(7), looked) == (50 * MIB, [7, 8])
    scene.sizes[7] = 104 * MIB
    assert (sizes.of(7), looked) == (52 * MIB, [7, 8, 7])
    sizes.refresh([7])
    assert looked == [7, 8, 7, 7]
    sizes.of(8)  # it was forgotten
    assert looked == [7, 8, 7, 7, 8]
