"""The answers of two to the same samples, laid side by side as arrays to be judged: pure.

Most outputs are of one shape, and their samples are joined. Of a model that finds things, as a
detector does, each sample has as many as there are in it: of those the shapes must agree sample by
sample. Then numbers are filled up with zeros, which are as far from zeros as they should be, and
all else is compared as a whole, for what is filled up would agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.errors import ModelDiffers, SettingsError
from headrace.tune.nearness import are_floats
from headrace.values import Array

Parts = Mapping[str, Sequence[Array]]
"""Of each output what came for each sample, one row each."""

Joined = dict[str, Array]


def side_by_side(reference: Parts, candidate: Parts) -> tuple[Joined, Joined]:
    """Join the samples of every output, on axis 0, to what can be compared number by number.

    Raises:
        ModelDiffers: they answer a sample with different shapes.
        SettingsError: all answers of the reference are empty.
    """
    if not any(part.size for parts in reference.values() for part in parts):
        raise SettingsError(
            "the answers to all samples are empty, which says nothing of others: give some in "
            "which something is found (--data)"
        )
    before, after = Joined(), Joined()
    for name, wanted in reference.items():
        found = candidate.get(name)
        if found is None:
            before[name] = _flat(wanted)  # that it is missing is told by who judges
        elif _is_even(wanted) and _is_even(found):
            before[name], after[name] = np.concatenate(wanted), np.concatenate(found)
        else:
            _check(name, wanted, found)
            before[name], after[name] = _comparable(wanted, found)
    return before, after


def _is_even(parts: Sequence[Array]) -> bool:
    return len({part.shape for part in parts}) == 1


def _check(name: str, wanted: Sequence[Array], found: Sequence[Array]) -> None:
    for place, (before, after) in enumerate(zip(wanted, found, strict=True)):
        if before.shape != after.shape:
            raise ModelDiffers(
                f"its output {name!r} is of shape {list(after.shape[1:])} for sample {place}, the "
                f"reference's of {list(before.shape[1:])}"
            )


def _comparable(wanted: Sequence[Array], found: Sequence[Array]) -> tuple[Array, Array]:
    if are_floats(wanted[0]):
        return _flat(wanted), _flat(found)
    alike = [np.array_equal(*pair) for pair in zip(wanted, found, strict=True)]
    # No numbers: one for each sample could be taken for the class that is chosen.
    return np.ones(len(wanted), bool), np.array(alike)


def _flat(parts: Sequence[Array]) -> Array:
    """A row of numbers for each, and no columns: those could be taken for classes."""
    flat = np.zeros((len(parts), max(part.size for part in parts), 1), parts[0].dtype)
    for row, part in zip(flat, parts, strict=True):
        row[: part.size, 0] = part.reshape(-1)
    return flat
