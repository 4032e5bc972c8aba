"""Model files that clients have sent: receivers write them, and they go when nothing needs them.

An order may come from any receiver, and a receiver may die; so it is not theirs to know.
"""

from __future__ import annotations

import contextlib
import shutil
from functools import partial
from pathlib import Path

from headrace.loader.aside import aside
from headrace.loader.roster import Roster
from headrace.order import Demand, Load, Order


class Uploads:
    """The folders that orders have named; for the supervisor's event loop."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._folders: set[Path] = set()

    async def tidy(self, order: Order) -> None:
        """Take an order that has ended, however: remove the folders that nothing is served from."""
        if isinstance(order, Load) and order.folder is not None:
            self._folders.add(Path(order.folder))
        if isinstance(order, Demand):  # of what stays as it was
            return
        for folder in [one for one in self._folders if not self._is_needed(one)]:
            with contextlib.suppress(OSError):  # the next order tries again
                await aside(partial(shutil.rmtree, folder, ignore_errors=True))
                self._folders.discard(folder)

    def _is_needed(self, folder: Path) -> bool:
        return any(path.is_relative_to(folder) for path in self._roster.paths())
