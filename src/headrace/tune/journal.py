"""The journal of a tuning: whatever was measured is kept at once, so that another start goes on.

A file of JSON lines. A line that is cut off, or is none of ours, ends what is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any, Self

_FOLDER, _SUFFIX = "tune", ".jsonl"
# Of other models and other times: those that nobody has used for longest go.
_MOST_FILES = 64
# No tuning writes as much; what has is not read to its end.
_MOST_BYTES = 64 * 2**20


class Journal:
    """What is known already, by what was done; closed with the context.

    ``place`` None: nothing is kept.
    """

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._known: dict[str, Any] = {}
        self._file: IO[str] | None = None
        self.found = 0

    def __enter__(self) -> Self:
        if self._place is not None:
            try:
                self._open(self._place)
            except OSError:  # a tuning that cannot be kept is one all the same
                self._file = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, *key: object) -> Any:
        """What came of it; None: it was not done."""
        return self._known.get(_text(key))

    def put(self, value: Any, *key: object) -> None:
        """Keep what came of it."""
        self._known[_text(key)] = value
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write(json.dumps([_text(key), value]) + "\n")
                self._file.flush()

    def forget(self) -> None:
        """Keep nothing for another start: this one has come to its end."""
        if self._place is not None:
            with contextlib.suppress(OSError):
                self._place.unlink(missing_ok=True)

    def _open(self, place: Path) -> None:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = _lines(place)
        self._known, self.found = dict(lines), len(lines)
        # Written anew, so that what follows does not hang on half a line.
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._file.writelines(json.dumps(line) + "\n" for line in lines)
        self._file.flush()
        _prune(place.parent)


def place_of(cache_dir: Path, *said: object) -> Path:
    """Where the journal of a tuning is that depends on what is said."""
    digest = hashlib.sha256(_text(said).encode()).hexdigest()
    return cache_dir / _FOLDER / f"{digest}{_SUFFIX}"


def _text(key: tuple[object, ...]) -> str:
    return json.dumps(key, default=str)


def _lines(place: Path) -> list[tuple[str, Any]]:
    try:
        if place.stat().st_size > _MOST_BYTES:
            return []
        text = place.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found: list[tuple[str, Any]] = []
    for line in text.splitlines():
        try:
            key, value = json.loads(line)
        except (ValueError, TypeError):
            break
        if not isinstance(key, str):
            break
        found.append((key, value))
    return found


def _prune(folder: Path) -> None:
    files = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda one: one.stat().st_mtime)
    for old in files[:-_MOST_FILES]:
        old.unlink(missing_ok=True)
