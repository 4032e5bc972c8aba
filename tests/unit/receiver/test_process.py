"""The receiver as the supervisor starts it: what is in its way is told, and may pass."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import StartError
from headrace.observe.processes import _role
from headrace.receiver import envoy, envoy_spans, process
from headrace.receiver.envoy import Address, Launch, _connections, _streams, launch
from headrace.receiver.process import ReceiverProcess, claimed
from headrace.server_settings import ServerSettings


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread")]
)
async def test_a_machine_that_has_nothing_left_is_a_reason_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whoever restarts one that died tries again later; an OSError would end the whole server."""

    def launch(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(process, "launch", launch)
    receiver = ReceiverProcess(ServerSettings(), (), tmp_path)
    with pytest.raises(StartError, match=f"could not be started: .*{error.args[-1]}"):
        await receiver.start()
    await receiver.stop()


def test_a_port_is_one_servers_before_its_receiver_listens() -> None:
    """Two that are started at the same moment both find it free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = Address("127.0.0.1", free.getsockname()[1])
    taken = pytest.raises(StartError, match=r"already in use; choose another")
    with claimed([address]), taken, claimed([address]):
        pass
    with claimed([address]) as let_go:
        let_go()  # from here on the port itself says so
        with claimed([address]):
            pass
    with claimed([address, Address("127.0.0.1", 0), Address("127.0.0.1", 0)]):
        pass


TOKEN = "what-lets-us-in"  # noqa: S105
# Ends with status 7 if its configuration is there, and for nobody else to read.
READS = """
import os, sys
with open(sys.argv[1]) as file:
    mode = os.fstat(file.fileno()).st_mode & 0o777
    sys.exit(7 if (file.read(), mode) == ("what it says", 0o600) else 1)
"""


def _launch(folder: Path, environment: Mapping[str, str], number: int = 0) -> Launch:
    return launch(
        ServerSettings(otlp_endpoint="http://127.0.0.1:4318", otlp_envoy=True),
        [Address("127.0.0.1", 0)],
        control_path=folder / "control.sock",
        admin_path=folder / f"admin-{number}.sock",
        config_path=folder / f"receiver-{number}.json",
        environment=environment,
    )


def test_the_secret_of_a_collector_is_no_argument(tmp_path: Path) -> None:
    """Arguments are read by whoever is on the machine."""
    said = {**os.environ, "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={TOKEN}"}
    how = _launch(tmp_path, said)
    assert TOKEN in how.configuration
    assert TOKEN not in " ".join(map(str, how.arguments))


@pytest.mark.parametrize(("said", "made"), [("", True), ("false", True), ("True", False)])
def test_envoy_makes_no_spans_where_opentelemetry_is_switched_off(
    said: str, made: bool, tmp_path: Path
) -> None:
    how = _launch(tmp_path, {**os.environ, "OTEL_SDK_DISABLED": said})
    assert (envoy_spans.PATH in how.configuration) == made


@pytest.mark.parametrize("name", ["my python", "py:3.11"])
def test_a_library_whose_path_would_be_two_is_linked_to(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / name / "libpython3.11.so"
    monkeypatch.setattr(envoy, "_libpython", lambda: library)
    run = tmp_path / "run"
    run.mkdir()
    for _ in range(2):  # the second takes the place of one that died
        link = Path(_launch(run, os.environ).environment["LD_PRELOAD"])
        assert link.parent == run
        assert link.readlink() == library
    with pytest.raises(StartError, match=rf"{name}/libpython.* set TMPDIR"):
        _launch(tmp_path / "of a run", os.environ)


@pytest.mark.parametrize(
    ("said", "told"), [("C", "C.UTF-8"), ("POSIX", "C.UTF-8"), ("de_DE", "de_DE"), (None, None)]
)
def test_its_python_reads_names_of_files_as_utf8(
    said: str | None, told: str | None, tmp_path: Path
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "LC_ALL"}
    environment |= {} if said is None else {"LC_ALL": said}
    assert _launch(tmp_path, environment).environment.get("LC_ALL") == told


@pytest.mark.parametrize(
    ("max_inflight", "streams"),
    [(1, 1), (1000, 1000), (1500, 1024), (8192, 4096), (10**12, 2**31 - 1)],
)
def test_one_connection_cannot_take_all_places_of_a_large_server(
    max_inflight: int, streams: int
) -> None:
    assert _streams(max_inflight) == streams


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(1_048_576, 1_048_476), (1024, 924), (150, 75), (8, 4)]
)
def test_connections_do_not_take_all_descriptors(descriptors: int, connections: int) -> None:
    assert _connections(descriptors) == connections


@pytest.mark.parametrize(
    ("number", "role"), [(0, "receiver"), (1, "receiver-1"), (12, "receiver-12")]
)
def test_it_is_told_by_its_command_line(tmp_path: Path, number: int, role: str) -> None:
    words = _launch(tmp_path, os.environ, number).arguments
    assert _role("\0".join(map(str, words)).encode()) == (role, "", "")


def test_what_it_is_told_is_in_a_file_of_ours_as_long_as_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(*_: Any, config_path: Path, **__: Any) -> Launch:
        command = (sys.executable, "-c", READS, str(config_path))
        return Launch("what it says", command, os.environ)

    monkeypatch.setattr(process, "launch", launch)
    receiver = ReceiverProcess(ServerSettings(), (), tmp_path)
    with pytest.raises(StartError, match="status 7 while it started"):
        asyncio.run(receiver.start())
    assert list(tmp_path.iterdir()) == []
