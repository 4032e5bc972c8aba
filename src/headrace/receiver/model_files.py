"""Model files that clients send: written into the folder of the run, for the supervisor to keep."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from headrace.errors import ModelLoadError


class ModelFiles:
    """The files of orders, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.asynccontextmanager
    async def written(self, number: int, files: Mapping[str, bytes]) -> AsyncIterator[Path | None]:
        """Write the files of an order, to be passed on inside the context; None without any.

        Once it is, they are the supervisor's; else they go. ``files`` are ``VERSION/NAME`` →
        content, checked.

        Raises:
            ModelLoadError: they cannot be written.
        """
        folder = self._folder / str(number) if files else None
        try:
            if folder is not None:
                await asyncio.to_thread(_write, folder, files)
            yield folder
        except BaseException:
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise


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
