"""Where what libraries build of a model in minutes is kept: a folder for each.

TensorRT does not see when only the weights of a file have changed, and Inductor does not look, so
the folder is named by all that the model depends on, as the entries of ``cache`` are.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import structlog

from headrace.engine.cache import Cache
from headrace.ownership import FOREIGN, is_ours
from headrace.settings import BackendName, ModelSettings

_log = structlog.get_logger("headrace.engine")

# Each may be as large as its model; those that nobody has used for longest go.
_MOST = 8


def built_of(folder: Path | None, path: Path, settings: ModelSettings) -> Path | None:
    """The folder of a model in this one, which is its owner's alone; None where none is wanted.

    Another that was used longest ago may go for it.
    """
    cache = Cache(folder, path, settings)
    if settings.backend is BackendName.TENSORRT:
        key = cache.key()
    elif settings.backend is BackendName.INDUCTOR:
        key = cache.key(("precision",))  # of any number of lanes, threads and rows
    else:
        return None
    return None if folder is None or key is None else owned(folder / settings.backend.value / key)


def owned(place: Path) -> Path | None:
    """Make a folder for its owner alone, if it is not there; None where it cannot be so."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        if (foreign := _foreign(place)) is not None:
            _log.warning("builds_not_kept", path=str(foreign), reason=FOREIGN)
            return None
        place.touch()
        kept = sorted(place.parent.iterdir(), key=lambda one: one.stat().st_mtime)
        for old in kept[:-_MOST]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:  # nothing can be written there: it is built anew at each start
        return None
    return place


def _foreign(place: Path) -> Path | None:
    """What others may have written: the folder, the one around it, or something in it."""
    for folder in (place.parent, place):
        if not stat.S_ISDIR(folder.lstat().st_mode) or not is_ours(folder.lstat()):
            return folder
    # Libraries write files that a group may write to, where the user's are so; none can get there.
    for one in place.iterdir():
        if one.is_symlink() or one.lstat().st_uid != os.geteuid():
            return one
    return None
