"""The tokenizers that cards name: each version is served with copies of how they were at its load.

Engines and receivers read one whenever they start, maybe long after the load, and the file may be
another by then. All are to give the same answers until the version is loaded again.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headrace.accepts import AcceptedInput, AcceptedText
from headrace.errors import ModelLoadError
from headrace.loader.regular import check_regular


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Copy:
    """A copy of a tokenizer's file, which is gone when nobody has this any more."""

    of: Path
    path: Path


def tokenizers(accepts: Iterable[AcceptedInput]) -> list[Path]:
    """The files that these entries name, each once."""
    named = (one.tokenizer for one in accepts if isinstance(one, AcceptedText))
    return list(dict.fromkeys(file for file in named if file is not None))


def check_tokenizers(accepts: Iterable[AcceptedInput]) -> None:
    """Check that each can be read; whether it is a tokenizer is found out when it is loaded.

    Raises:
        ModelLoadError: one cannot.
    """
    for file in tokenizers(accepts):
        try:
            check_regular(file)
            with file.open("rb"):
                pass
        except OSError as error:
            raise ModelLoadError(f"tokenizer {file}: cannot be read: {error.strerror}") from error
        except ValueError as error:  # a zero byte, which only an order over the wire can have
            raise ModelLoadError(f"tokenizer {str(file)!r}: is no path") from error


def copy_tokenizers(accepts: Iterable[AcceptedInput], folder: Path) -> tuple[Copy, ...]:
    """Copy each into a folder.

    Raises:
        OSError: one cannot be read, or there is no room for it.
    """
    return tuple(_copy(file, folder) for file in tokenizers(accepts))


def _copy(file: Path, folder: Path) -> Copy:
    check_regular(file)
    with (
        file.open("rb") as source,
        tempfile.NamedTemporaryFile(dir=folder, prefix="tokenizer-", delete=False) as target,
    ):
        path = Path(target.name)
        copy = Copy(file, path)
        # The folder, that of the run, is removed as a whole when the server ends.
        weakref.finalize(copy, path.unlink, missing_ok=True).atexit = False
        shutil.copyfileobj(source, target)
    return copy
