"""What a server would serve, found without one; what lies elsewhere is fetched for it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import ModelLoadError, OperatorError
from headrace.formats import torch_archive
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
            _check_scripts(found)
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


def _check_scripts(found: Sequence[FoundVersion]) -> None:
    """Refuse each ``.pt`` that is no program: a server would tell that of it only as it loads.

    Raises:
        ModelLoadError: there are some, a line each.
    """
    others = [one.path for one in found if one.path.suffix == ".pt" and not _is_script(one.path)]
    if others:
        told = (f"cannot load {path}: {torch_archive.NO_SCRIPT}" for path in others)
        raise ModelLoadError("\n".join(told))


def _is_script(path: Path) -> bool:
    try:
        return torch_archive.is_script(path)
    except (OSError, ValueError):
        return True  # what is wrong with it is told when it is loaded
