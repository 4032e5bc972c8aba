"""One bad model: how it is written, and what must be said of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """One bad model.

    ``name`` is also what the model is called. ``words`` is a regular expression that the reason
    must match; ``write`` is given the folder of version 1, which is there and empty.
    """

    name: str
    words: str
    write: Callable[[Path], object]

    def build(self, models: Path) -> Path:
        """Write it into a folder of models; return its version folder."""
        folder = models / self.name / "1"
        folder.mkdir(parents=True)
        self.write(folder)
        return folder

    def is_told(self, reason: str) -> bool:
        """Whether a reason says what is wrong."""
        return re.search(self.words, reason, re.DOTALL) is not None


def holding(name: str, content: bytes) -> Callable[[Path], object]:
    """Write one file of these bytes."""

    def write(folder: Path) -> object:
        return (folder / name).write_bytes(content)

    return write
