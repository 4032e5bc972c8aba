"""What in a store has been as it is for long enough: half of an upload is left alone; pure.

Time is an argument, in seconds on one monotonic clock. What changes together counts together: the
files of a version folder, or those beside each other that are named alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.loader.remote.listing import RemoteFile

Content = tuple[RemoteFile, ...]


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

    def take(self, now_s: float, listed: Iterable[RemoteFile]) -> list[RemoteFile]:
        """The files to go by: of what changes still, as it was before; of the first time, all."""
        there = _grouped(listed)
        settle_s = 0.0 if self._is_first else self.settle_s
        self._is_first = False
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
    groups: defaultdict[str, list[RemoteFile]] = defaultdict(list)
    for file in listed:
        groups[_group(file.name)].append(file)
    return {name: tuple(sorted(files)) for name, files in groups.items()}


def _group(name: str) -> str:
    """What a file belongs to: its version folder, or the files that are named like it."""
    *folders, last = name.split("/")
    for depth, folder in enumerate(folders, 1):
        if folder.isascii() and folder.isdigit():
            return "/".join(folders[:depth])
    return "/".join([*folders, last.partition(".")[0]])
