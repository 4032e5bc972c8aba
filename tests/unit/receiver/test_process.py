"""The receiver as the supervisor starts it: what is in its way is told, and may pass."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import StartError
from headrace.receiver import process
from headrace.receiver.process import ReceiverProcess
from headrace.server_settings import ServerSettings


async def test_a_machine_that_has_nothing_left_is_a_reason_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever restarts one that died tries again later; an OSError would end the whole server."""

    def launch(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(process, "launch", launch)
    receiver = ReceiverProcess(ServerSettings(), (), tmp_path)
    with pytest.raises(StartError, match=r"could not be started: .*Too many open files"):
        await receiver.start()
    await receiver.stop()
