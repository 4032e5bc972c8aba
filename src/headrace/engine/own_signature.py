"""What a SavedModel calls the signature that is served, where its card does not say it."""

from __future__ import annotations

import mmap
from pathlib import Path

from headrace.formats import saved_model


def own_signature(path: Path) -> str | None:
    """The name in the file; None where it has none, or cannot be read.

    Whether the model can be served is for its backend to say.
    """
    if path.suffix != ".pb":
        return None
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _only(data)
    except (OSError, ValueError):
        return None


def _only(data: mmap.mmap) -> str | None:
    with memoryview(data) as view:
        try:  # in here, for an error on its way out holds parts of the map, which cannot close then
            return saved_model.chosen(saved_model.signatures(view), None)
        except ValueError:
            return None
