"""What to load and unload, from what lies in the folders and what serves: pure.

Time is an argument, in seconds on one monotonic clock. A version counts when nothing of it has
changed for the settle time, so that what is still being copied is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Choose = Callable[[Iterable[int]], frozenset[int]]


@dataclass(frozen=True, slots=True)
class Look:
    """One model at one moment.

    ``there`` and ``serving`` are versions with their content, anything that is equal as long as
    nothing has changed. Of ``unsure`` versions nothing can be said now; with ``unsure_of_all`` of
    none.
    """

    there: Mapping[int, Any]
    serving: Mapping[int, Any]
    unsure: frozenset[int] = frozenset()
    unsure_of_all: bool = False
    choose: Choose = frozenset


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with a model now: first load all of these, then look again; or unload these."""

    load: tuple[int, ...] = ()
    unload: tuple[int, ...] = ()


@dataclass(slots=True)
class _Seen:
    content: Any
    since_s: float


@dataclass(slots=True)
class Settled:
    """What is known of one model from one look to the next."""

    settle_s: float
    _seen: dict[int, _Seen] = field(default_factory=dict)
    _gone_s: dict[int, float] = field(default_factory=dict)
    _tried: dict[int, Any] = field(default_factory=dict)
    _again: set[int] = field(default_factory=set)

    def tried(self, version: int, content: Any) -> None:
        """Note that this was loaded, or could not be: it is not tried again until it changes."""
        self._tried[version] = content
        self._again.discard(version)

    def again(self, version: int) -> None:
        """It found no room: it is tried again when there is nothing else to do."""
        self._again.add(version)

    def forget(self, version: int) -> None:
        """A version has gone: when it comes again it is a new one."""
        self._tried.pop(version, None)
        self._again.discard(version)

    def step(self, now_s: float, look: Look) -> Step:
        """Decide. What could not be read is neither loaded nor unloaded."""
        if look.unsure_of_all:
            return Step()
        self._note(now_s, look)
        settled = {v for v, seen in self._seen.items() if now_s - seen.since_s >= self.settle_s}
        wanted = look.choose((settled | look.serving.keys()) & look.there.keys())
        load = {v for v in wanted & settled if self._is_new(v, look)}
        if load:
            return Step(load=tuple(sorted(load)))
        unload = self._unwanted(now_s, wanted, look)
        for version in unload:
            self._tried.pop(version, None)
            self._gone_s.pop(version, None)
        if unload:
            return Step(unload=tuple(sorted(unload)))
        again = {v for v in self._again & wanted & settled if not self._serves(v, look)}
        return Step(load=tuple(sorted(again)))

    def _note(self, now_s: float, look: Look) -> None:
        """Note since when each version is as it is, or is gone."""
        for version, content in look.there.items():
            seen = self._seen.get(version)
            if seen is None or seen.content != content:
                self._seen[version] = _Seen(content, now_s)
        for version in self._seen.keys() - look.there.keys():
            del self._seen[version]
        for version in look.unsure:
            self._tried.pop(version, None)
        for version in self._gone_s.keys() & (look.there.keys() | look.unsure):
            del self._gone_s[version]
        known = look.serving.keys() | self._tried.keys()
        for version in known - look.there.keys() - look.unsure:
            since_s = self._gone_s.setdefault(version, now_s)
            if now_s - since_s >= self.settle_s and version not in look.serving:
                del self._gone_s[version]
                self._tried.pop(version, None)

    def _is_new(self, version: int, look: Look) -> bool:
        if self._serves(version, look):
            return False
        return version not in self._tried or self._tried[version] != look.there[version]

    def _serves(self, version: int, look: Look) -> bool:
        return version in look.serving and look.serving[version] == look.there[version]

    def _unwanted(self, now_s: float, wanted: frozenset[int], look: Look) -> set[int]:
        """The versions that serve and should not: never the last before another serves.

        One that the policy no longer wants stays until all that it wants serve; one whose files
        are gone, until any does, or nothing of the model is left.
        """
        left = look.there.keys() | look.unsure
        gone = {
            version
            for version in look.serving.keys() - left
            if now_s - self._gone_s[version] >= self.settle_s
        }
        if gone and (not left or wanted & look.serving.keys()):
            return gone
        displaced = (look.serving.keys() & look.there.keys()) - wanted
        return displaced if wanted and wanted <= look.serving.keys() else set()
