"""Where TensorRT keeps the engines that it has built for a model: a folder for each.

It does not see when only the weights of a file have changed, so the folder is named by all that the
model depends on, as the entries of ``cache`` are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from headrace.settings import BackendName, ModelSettings

# Each may be as large as its model; those that nobody has used for longest go.
_MOST = 8


def engines_of(folder: Path, key: str, settings: ModelSettings) -> Path | None:
    """The folder for a model, which is its owner's alone; None where none is wanted.

    Another that was used longest ago may go for it.
    """
    if settings.backend is not BackendName.TENSORRT:
        return None
    place = folder / "tensorrt" / key
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        place.touch()
        kept = sorted(place.parent.iterdir(), key=lambda one: one.stat().st_mtime)
        for old in kept[:-_MOST]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:  # nothing can be written there: it is built anew at each start
        return None
    return place
