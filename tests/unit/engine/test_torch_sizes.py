"""Sizes of a program: what it was not exported for is refused, for compiled code does not look."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from headrace.errors import InferenceFailed, ModelLoadError
from tests.contract.test_formats import needs_torch

pytestmark = [needs_torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def torch_sizes() -> Any:
    return importlib.import_module("headrace.engine.backends.torch_sizes")


def sizes(torch_sizes: Any) -> Any:
    """Two inputs of words that are as long, of 4 to 16, and a mask of 3."""
    made = torch_sizes.Sizes(
        ((None, None), (None, None), (None, 3)),
        (
            torch_sizes.Free(1, 8, ((0, 0), (1, 0), (2, 0))),
            torch_sizes.Free(4, 16, ((0, 1), (1, 1))),
        ),
    )
    return torch_sizes.parse(made.text())


def test_what_was_exported_for_passes(torch_sizes: Any) -> None:
    known = sizes(torch_sizes)
    known.check([(1, 4), (1, 4), (1, 3)])
    known.check([(8, 16), (8, 16), (8, 3)])


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(9, 4), (9, 4), (9, 3)], "9 is not within 1 to 8"),
        ([(1, 3), (1, 3), (1, 3)], "3 is not within 4 to 16"),
        ([(1, 4), (1, 5), (1, 3)], r"one size have \[4, 5\]"),
        ([(1, 4), (1, 4), (1, 2)], "input 2 is of shape"),
        ([(1, 4), (1, 4, 1), (1, 3)], "input 1 is of shape"),
    ],
)
def test_another_size_is_refused(torch_sizes: Any, shapes: Any, words: str) -> None:
    with pytest.raises(InferenceFailed, match=words):
        sizes(torch_sizes).check(shapes)


def test_sizes_are_read_from_a_program_and_those_that_depend_on_others_refused(
    torch_sizes: Any,
) -> None:
    torch = importlib.import_module("torch")

    class Half(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any, y: Any) -> Any:
            return x.reshape(-1, 2, x.shape[1]).sum(1) + y

    rows = torch.export.Dim("rows", min=2, max=8)
    given = (torch.zeros(4, 3), torch.zeros(2, 3))
    odd = torch.export.export(Half(), given, dynamic_shapes=({0: 2 * rows}, {0: rows}))
    with pytest.raises(ModelLoadError, match="give each free axis a Dim of its own"):
        torch_sizes.of(odd)
    plain = torch.export.export(torch.nn.Linear(3, 2), given[:1], dynamic_shapes=({0: rows},))
    found = torch_sizes.of(plain)
    assert found.fixed == ((None, 3),)
    assert found.free[0].most == 8
