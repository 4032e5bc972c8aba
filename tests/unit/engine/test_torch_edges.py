"""Edges of pinned memory: what lies across one, before and after it has been released."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from tests.contract.test_formats import needs_torch

pytestmark = needs_torch

_MEMORY = bytearray(1000)
_AT = int(np.frombuffer(_MEMORY, np.uint8).ctypes.data)


@pytest.fixture
def edges() -> Any:
    """None yet."""
    return importlib.import_module("headrace.engine.backends.torch_edges").Edges()


def _areas(*ranges: tuple[int, int]) -> list[memoryview]:
    return [memoryview(_MEMORY)[begin:end] for begin, end in ranges]


def test_only_what_lies_across_an_edge_is_cut(edges: Any) -> None:
    edges.of(_areas((100, 200), (200, 300), (600, 700)), lambda: None)
    for begin, end in ((0, 100), (100, 200), (150, 160), (300, 600), (700, 1000), (200, 200)):
        assert not edges.cut(_AT + begin, end - begin), (begin, end)
    for begin, end in ((0, 101), (199, 201), (100, 300), (299, 400), (50, 800), (650, 701)):
        assert edges.cut(_AT + begin, end - begin), (begin, end)


def test_a_receiver_that_leaves_takes_only_its_own_edges(edges: Any) -> None:
    released: list[int] = []
    first = edges.of(_areas((100, 200)), lambda: released.append(1))
    second = edges.of(_areas((200, 300)), lambda: released.append(2))
    first()
    assert not edges.cut(_AT + 50, 100)
    assert edges.cut(_AT + 150, 100)
    second()
    assert not edges.cut(_AT, 1000)
    assert released == [1, 2]
