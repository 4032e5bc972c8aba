"""Model files that clients send: kept in the folder of the run while an engine may need them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from headrace.errors import ModelLoadError
from headrace.order import Load, Order, Reload, Unload


class ModelFiles:
    """The files of each model that was loaded from files a client sent; the last ones only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, Path] = {}

    @contextlib.asynccontextmanager
    async def held(
        self, number: int, order: Order, files: Mapping[str, bytes]
    ) -> AsyncIterator[Path | None]:
        """Write the files of an order; None without any.

        When the order has been carried out they stay, and those from before go; when it has not,
        they go. ``files`` are ``VERSION/NAME`` → content, checked.

        Raises:
            ModelLoadError: they cannot be written.
        """
        folder = self._folder / str(number) if files else None
        try:
            if folder is not None:
                await asyncio.to_thread(_write, folder, files)
            yield folder
        except BaseException:
            await _remove(folder)
            raise
        for name in self._replaced(order):
            await _remove(self._kept.pop(name))
        if folder is not None and isinstance(order, Load):
            self._kept[order.name] = folder

    def _replaced(self, order: Order) -> list[str]:
        """The models whose files nothing needs after this order."""
        if isinstance(order, Reload):
            return list(self._kept)
        named = {order.name} if isinstance(order, Load | Unload) else set[str]()
        return [name for name in self._kept if name in named]


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        file = folder / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError as error:
            raise ModelLoadError(
                f"{path}: cannot be written: {error.strerror}; is there room where the server "
                "keeps temporary files (TMPDIR)?"
            ) from error


async def _remove(folder: Path | None) -> None:
    if folder is not None:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
