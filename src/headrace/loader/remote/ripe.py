"""What in a store has been as it is for long enough: half of an upload is left alone; pure.

Time is an argument, in seconds on one monotonic clock. What changes together counts together: the
files of a version folder, those of a SavedModel, or those beside each other that are named alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from headrace.loader.remote.listing import RemoteFile

Content = tuple[RemoteFile, ...]

_SAVED_MODEL = "saved_model.pb"


@dataclass(slots=True)
class _Seen:
    """Files as they were last seen, since when, and as they were when they last were ripe."""

    content: Content
    since_s: float
    ripe: Content = ()


@dataclass(slots=True)
class Ripe:
    """What is known of one place from one listing to the next."""

    settle_s: float
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _is_first: bool = True

    def begin(self) -> None:
        """The first look was answered, if with nothing: what comes now may be half of an upload."""
        self._is_first = False

    def take(self, now_s: float, listed: Iterable[RemoteFile]) -> list[RemoteFile]:
        """The files to go by: of what changes still, as it was before; of the first time, all."""
        there = _grouped(listed)
        settle_s = 0.0 if self._is_first else self.settle_s
        self.begin()
        for name in there.keys() | self._seen.keys():
            content = there.get(name, ())
            seen = self._seen.setdefault(name, _Seen(content, now_s))
            if seen.content != content:
                seen.content, seen.since_s = content, now_s
            if now_s - seen.since_s >= settle_s:
                seen.ripe = content
        for name in [name for name, seen in self._seen.items() if not (seen.content or seen.ripe)]:
            del self._seen[name]
        return sorted(file for seen in self._seen.values() for file in seen.ripe)


def _grouped(listed: Iterable[RemoteFile]) -> dict[str, Content]:
    files = list(listed)
    split = [file.name.rpartition("/") for file in files]
    saved = {folder for folder, _, last in split if last == _SAVED_MODEL}
    groups: defaultdict[str, list[RemoteFile]] = defaultdict(list)
    for file in files:
        groups[_group(file.name, saved)].append(file)
    return {name: tuple(sorted(files)) for name, files in groups.items()}


def _group(name: str, saved: Container[str]) -> str:
    """What a file belongs to: its version folder, a SavedModel, or the files named like it.

    The first folder is the place itself, whose name may be a date: it is a version only where no
    folder in it is one.
    """
    *folders, last = name.split("/")
    numbers = [depth for depth, folder in enumerate(folders, 1) if _is_number(folder)]
    if numbers:
        return "/".join(folders[: numbers[1] if numbers[:1] == [1] and numbers[1:] else numbers[0]])
    for depth in range(1, len(folders) + 1):
        if "/".join(folders[:depth]) in saved:
            return "/".join(folders[:depth])
    return "/".join([*folders, last.partition(".")[0]])


def _is_number(folder: str) -> bool:
    return folder.isascii() and folder.isdigit()
