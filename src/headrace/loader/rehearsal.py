"""What a server would serve, found without one; what lies elsewhere is fetched for it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import OperatorError
from headrace.loader.places import left_out
from headrace.loader.remote.remotes import Remotes
from headrace.loader.store import FoundVersion, find
from headrace.settings import Settings


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The versions, each with the place it lies in, and why models are left out, by name."""

    found: tuple[tuple[FoundVersion, str], ...]
    left_out: dict[str, str]


def rehearse(settings: Settings, written: Sequence[str] = ()) -> Rehearsed:
    """Find everything; ``written`` is where each entry of ``models`` is.

    Raises:
        OperatorError: names every problem, a line each.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        remotes = Remotes(settings, Path(folder))
        try:
            remotes.fetch()
            found = find(remotes.settings, written=written)
        except OperatorError as error:
            raise type(error)(remotes.told(error.message)) from error
        return Rehearsed(
            tuple((one, remotes.told(str(one.path))) for one in found),
            {
                one.name: remotes.told(one.error.message)
                for entry in remotes.settings.models
                for one in left_out(entry)
            },
        )
