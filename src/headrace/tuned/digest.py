"""Which model it is: a digest of the files that its answers and its run times depend on.

And which edition of them lies there: those that were read once, or others.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from headrace.errors import ModelLoadError
from headrace.formats import SUFFIXES
from headrace.weights import LEFT_BY_RUNS, has_own_folder, stamp, weights_beside

_SAVED_MODEL, _USER_CODE = ".pb", ".py"
# What it was made of may lie beside it.
_MODELS = frozenset({*SUFFIXES, _SAVED_MODEL})
# What is said of a model in words, and what runs of it leave, changes nothing that was measured.
_WORDS = frozenset({".yaml", ".yml", ".json", ".md", ".txt", ".html", ".pbtxt", ".png"})
_NOTHING_READ = _WORDS | {*LEFT_BY_RUNS, ".npz", ".csv"}
# How many digests are kept; where there are more models each is read whenever it is asked for.
_KEPT = 1024

Seen = tuple[tuple[str, tuple[int, ...]], ...]


def digest(path: Path) -> str:
    """Return ``sha256:`` and the digest of a model; of one file that is the file's own.

    Of several files it is that of the lines ``sha256sum`` prints of them: of a lone file those that
    its weights lie in, of a version all of its folder but cards, labels and other words, logs and
    tables.

    Raises:
        ModelLoadError: a file cannot be read.
    """
    try:
        return _digest(path.parent, _seen(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def edition(path: Path) -> str:
    """What tells the digest's files from those that lay there at any other time, unread.

    Another one lies there when one was written or replaced, or a folder of them was moved into
    place, however old they are. It is the same in every process of this machine.

    Raises:
        ModelLoadError: a file cannot be looked at.
    """
    try:
        return hashlib.sha256(repr(_seen(path)).encode()).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _seen(path: Path) -> Seen:
    home = path.parent
    return tuple((file.relative_to(home).as_posix(), stamp(file)) for file in sorted(_files(path)))


def _unreadable(path: Path, error: OSError) -> ModelLoadError:
    return ModelLoadError(f"{error.filename or path}: cannot be read: {error.strerror}")


@lru_cache(_KEPT)
def _digest(home: Path, seen: Seen) -> str:
    """Read the files; as long as none has changed, once."""
    sums = {name: _sum(home / name) for name, _ in seen}
    if len(sums) == 1:
        return f"sha256:{next(iter(sums.values()))}"
    lines = "".join(f"{found}  {name}\n" for name, found in sums.items())
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """The model's file first."""
    yield path
    if has_own_folder(path):
        around: Iterable[Path] = path.parent.rglob("*")
    elif path.suffix == _USER_CODE:
        around = path.parent.glob(f"{glob.escape(path.stem)}.*")
    else:  # beside it lies what others have left there: logs, labels, other models
        yield from (file for file in weights_beside(path) if file.is_file())
        return
    yield from (file for file in around if file != path and _counts(file, path))


def _counts(file: Path, path: Path) -> bool:
    """Whether a file that lies with a model belongs to it."""
    inner = file.relative_to(path.parent).parts
    if not file.is_file() or any(part.startswith((".", "__")) for part in inner):
        return False
    if path.suffix == _USER_CODE:  # who knows what it reads
        return not file.name.endswith(("card.yaml", "tuned.yaml"))
    return file.suffix not in _NOTHING_READ and (len(inner) > 1 or file.suffix not in _MODELS)
