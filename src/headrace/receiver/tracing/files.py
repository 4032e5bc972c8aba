"""Which file a trace goes to."""

from __future__ import annotations

from typing import NamedTuple

from headrace.receiver.tracing.plan import Plan


class Place(NamedTuple):
    """A file's name, and whether it begins with this trace."""

    name: str
    fresh: bool


class Files:
    """Numbers the files: ``NAME``, or with a log frequency ``NAME.0``, ``NAME.1`` and so on."""

    def __init__(self) -> None:
        self._generations: dict[str, int] = {}
        self._whole: set[str] = set()
        self._rows: dict[str, tuple[int, int]] = {}  # the file's number, and the traces in it

    def place(self, plan: Plan) -> Place:
        """The file of the next trace of this plan."""
        name = plan.file
        if self._generations.get(name, -1) < plan.generation:
            self._generations[name] = plan.generation
            self._whole.discard(name)
            self._rows.pop(name, None)
        if not plan.log_frequency:
            fresh = name not in self._whole
            self._whole.add(name)
            return Place(name, fresh=fresh)
        number, count = self._rows.get(name, (0, 0))
        if count >= plan.log_frequency:
            number, count = number + 1, 0
        self._rows[name] = number, count + 1
        return Place(f"{name}.{number}", fresh=count == 0)
