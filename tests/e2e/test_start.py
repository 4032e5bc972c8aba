"""From a command to a server that is ready, or to words that say what to change."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.clients import http, triton_grpc
from tests.e2e.conftest import write_linear
from tests.e2e.models import write_config, write_fake
from tests.e2e.server import Server, frozen, until

pytestmark = pytest.mark.slow

X = np.ones((1, 4), np.float32)


def _refusal(*arguments: str | Path, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """The status and the words of a server that does not come up."""
    server = Server(*arguments, environment=environment)
    server.start()
    try:
        status = server.wait(30)
        assert server.children() == []
        return status, server.output
    finally:
        server.kill()


# -- ready ---------------------------------------------------------------------------------------


def test_it_is_live_at_once_and_ready_when_every_model_is_warm(tmp_path: Path) -> None:
    write_fake(tmp_path / "quick.fake")
    write_fake(tmp_path / "slow.fake")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    server = Server(tmp_path, "--port", str(port))
    server.start()
    try:
        with frozen(server.engine("slow")):
            server.wait_for("quick version 1")
            until(lambda: _status(f"{url}/v2/models/quick/ready") == 200)
            assert _status(f"{url}/v2/health/live") == 200
            assert _status(f"{url}/v2/health/ready") == 503
            assert _status(f"{url}/readyz") == 503
            assert _status(f"{url}/v2/models/slow/ready") == 503
            assert http(f"{url}/predict/quick", {"input": X.tolist()})[0] == 200
            status, answer, head = http(f"{url}/predict/slow", {"input": X.tolist()})
            assert (status, head["headrace-error"], head["retry-after"]) == (503, "not_ready", "1")
            told = r"model 'slow' is not ready: (found|loading) for \d+ s"
            assert re.fullmatch(told, answer["error"])
            states = http(f"{url}/v1/models/slow")[1]["model_version_status"]
            assert states[0]["state"] in {"START", "LOADING"}
            assert "is ready" not in server.output
            server.wait_for('"event":"still_loading"')
        server.wait_for("Headrace is ready")
        assert _status(f"{url}/v2/health/ready") == 200
        assert http(f"{url}/predict/slow", {"input": X.tolist()})[0] == 200
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_tiny_model_answers_within_seconds_of_the_command(tmp_path: Path) -> None:
    model = write_linear(tmp_path / "linear.onnx", 1.0)
    started_s = time.monotonic()
    with Server(model) as server:
        assert triton_grpc(server.address, "linear", X).shape == (1, 3)
        assert time.monotonic() - started_s < 15  # some 2 s on an idle machine
        assert float(server.find(re.compile(r"is ready after ([\d.]+) s"))) < 15


def test_it_prints_what_it_serves_and_where_and_nothing_else(tmp_path: Path) -> None:
    write_linear(tmp_path / "linear" / "2" / "model.onnx", 1.0)
    write_linear(tmp_path / "linear" / "10" / "model.onnx", 1.0)
    write_fake(tmp_path / "alone" / "1" / "m.fake")
    (tmp_path / "alone" / "card.yaml").write_text("batched: false")
    with Server(tmp_path, "--listen", "127.0.0.1:0", "--instances", "1") as server:
        pass
    lines = server.output.strip().splitlines()
    # On a busy machine it may take so long that it is said.
    said = [line for line in lines if '"event":"still_loading"' not in line]
    *models, first, second, ready, draining = said
    warm = r"started in \d+\.\d\d s, loaded in \d+\.\d\d s, warm in \d+\.\d\d s, \d+ MiB"
    assert len(models) == 3
    for line in models:
        assert re.fullmatch(
            r"(linear version (2|10): (openvino|onnxruntime) f32, 1 instance\(s\) of 1 thread\(s\),"
            rf" batches up to \d+, {warm})|"
            r"(alone version 1: fake f32, 1 instance\(s\) of 1 thread\(s\), every request alone, "
            rf"{warm})",
            line,
        )
    for line in (first, second):
        assert re.fullmatch(r"endpoint: http://127\.0\.0\.1:\d+  \(HTTP/1\.1, HTTP/2, gRPC\)", line)
    assert re.fullmatch(rf"Headrace is ready after \d+\.\d\d s: {server.url}", ready)
    assert '"draining"' in draining


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    model = write_linear(tmp_path / "linear.onnx", 1.0)
    home = {"HOME": str(tmp_path)}
    with Server(model, "--backend", "openvino", environment=home) as server:
        assert "openvino f32" in server.output
    assert not (tmp_path / "intel").exists()  # where its telemetry counts, each time it sends


def test_onnxruntime_tells_nobody_what_it_runs(tmp_path: Path) -> None:
    model = write_linear(tmp_path / "linear.onnx", 1.0)
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    with Server(model, "--backend", "onnxruntime", environment=home) as server:
        assert "onnxruntime f32" in server.output
    assert not [*tmp_path.rglob("Microsoft")]  # where it numbers the machine, before it reports


# -- what cannot be served -----------------------------------------------------------------------


def test_a_model_that_cannot_load_is_told_and_the_others_serve(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model at all")
    write_fake(tmp_path / "sound.fake")
    with Server(tmp_path) as server:
        np.testing.assert_allclose(triton_grpc(server.address, "sound", X), X)
        status, answer, head = http(f"{server.url}/predict/broken", {"input": X.tolist()})
        assert (status, head["headrace-error"]) == (503, "model_failed")
        assert "cannot load" in answer["error"]
        version = http(f"{server.url}/v1/models/broken")[1]["model_version_status"][0]
        assert version["state"] == "END"
        assert "cannot load" in version["status"]["error_message"]
        assert _status(f"{server.url}/v2/health/ready") == 200
        assert "model_failed" in server.output
        assert "broken.onnx" in server.output
        assert server.stop() == 0


def test_when_no_model_can_be_loaded_it_ends_with_1_and_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(b"no model at all")
    (tmp_path / "two.fake").write_text("colour: blue")
    status, words = _refusal(tmp_path)
    assert status == 1
    assert words.count("model_failed") == 2
    assert "colour" in words
    assert "no model is left to serve" in words
    assert "Traceback" not in words


def test_a_model_that_takes_too_long_fails(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "slow.fake", load_ms=60_000)
    status, words = _refusal(model, environment={"HEADRACE_SERVER__LOAD_TIMEOUT_S": "1"})
    assert status == 1
    assert "did not load and warm up within 1 s (server.load_timeout_s)" in words


def test_a_port_that_is_taken_is_told_with_the_fix(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "a.fake")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, words = _refusal(model, "--host", "127.0.0.1", "--port", str(port))
        assert status == 2
        assert words.startswith(f"headrace: cannot listen on 127.0.0.1:{port}: ")
        assert "choose another with --port" in words
        status, words = _refusal(model, "--listen", f"127.0.0.1:{port}")
        assert status == 2
        assert "choose another with --port or --listen" in words


def test_two_servers_on_one_port_are_one_too_many_and_so_is_one_twice(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "a.fake")
    with Server(model) as server:
        port = server.address.rpartition(":")[2]
        status, words = _refusal(model, "--port", port)
        assert (status, "Address already in use" in words) == (2, True)
    status, words = _refusal(model, "--port", port, "--listen", f"127.0.0.1:{port}")
    assert (status, "Address already in use" in words) == (2, True)


def test_an_address_may_be_a_name(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "a.fake")
    with Server(model, "--host", "localhost") as server:
        assert re.fullmatch(r"http://(127\.0\.0\.1|\[::1\]):\d+", server.url)
        assert _status(f"{server.url}/readyz") == 200


@pytest.mark.parametrize(
    "arguments",
    [
        ("--host", "no-such-host.invalid"),
        ("--host", "127.0..1"),
        ("--listen", "localhost..:8500"),
    ],
)
def test_an_address_that_nobody_has_is_told_with_the_fix(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    model = write_fake(tmp_path / "a.fake")
    status, words = _refusal(model, *arguments)
    assert (status, words.count("\n")) == (2, 1)
    assert "choose another address with --host or --listen" in words


def test_a_temporary_folder_too_deep_for_sockets_is_told_with_the_fix(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    model = write_fake(tmp_path / "a.fake")
    status, words = _refusal(model, environment={"TMPDIR": str(deep)})
    assert status == 2
    assert "is too long for a socket's path; set TMPDIR to a shorter folder" in words
    assert not list(deep.iterdir())
    assert "Traceback" not in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("model.onnx", "--instances", "none"), "flag --instances"),
        (("model.onnx", "--listen", "8500"), "ADDR:PORT"),
        (("model.onnx", "--default-model", "other"), "there is no model 'other'"),
    ],
)
def test_what_must_be_changed_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    write_linear(tmp_path / "model.onnx", 1.0)
    inside = [tmp_path / one if one.endswith((".onnx", ".yaml")) else one for one in arguments]
    status, told = _refusal(*inside)
    assert status == 2
    assert words in told
    assert len(told.strip().splitlines()) == 1


# -- paths, names and settings -------------------------------------------------------------------


def test_files_versioned_folders_and_folders_of_both_under_their_names(tmp_path: Path) -> None:
    write_fake(tmp_path / "zoo" / "a" / "1" / "m.fake", scale=1)
    write_fake(tmp_path / "zoo" / "a" / "3" / "m.fake", scale=3)
    write_fake(tmp_path / "zoo" / "b.fake", scale=4)
    write_fake(tmp_path / "c" / "7" / "m.fake", scale=7)
    write_fake(tmp_path / "d.fake", scale=8)
    with Server(tmp_path / "zoo", tmp_path / "c", tmp_path / "d.fake") as server:
        assert [_scale(server, name) for name in "abcd"] == [3, 4, 7, 8]
        assert _scale(server, "a", "1") == 1
        assert _scale(server, "c", "7") == 7
        assert http(f"{server.url}/v2/models/a")[1]["versions"] == ["1", "3"]


def test_a_model_is_served_under_the_name_it_is_given(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "m.fake", scale=5)
    with Server(model, "--name", "other") as server:
        assert _scale(server, "other") == 5
        assert http(f"{server.url}/predict", {"input": X.tolist()})[1]["output"] == [[5.0] * 4]
        assert _status(f"{server.url}/v2/models/m") == 404


def test_flag_over_environment_over_file(tmp_path: Path) -> None:
    models = [write_fake(tmp_path / f"{name}.fake", scale=n) for n, name in _NUMBERS.items()]
    entries = [{"path": model.name} for model in models]  # relative to the file
    config = write_config(
        tmp_path / "headrace.yaml", *entries, default_model="one", model_control="none"
    )
    environment = {
        "HEADRACE_SERVER__DEFAULT_MODEL": "two",
        "HEADRACE_SERVER__MODEL_CONTROL": "explicit",
    }
    flags = ("--preload", "false", "--default-model", "three")
    with Server("--config", config, *flags, environment=environment) as server:
        answer = http(f"{server.url}/predict", {"input": X.tolist()})[1]
        unloaded, _, _ = http(f"{server.url}/v2/repository/models/one/unload", {})
    assert answer["output"] == [[3] * 4]
    assert unloaded == 200


def test_the_host_of_the_environment_and_the_ports_of_flags(tmp_path: Path) -> None:
    port, second, third = _free_port(), _free_port(), _free_port()
    model = write_fake(tmp_path / "m.fake", scale=2)
    flags = ("--port", str(port), "--listen", f"127.0.0.1:{second}", "--listen", f"[::1]:{third}")
    with Server(model, *flags, environment={"HEADRACE_SERVER__HOST": "127.0.0.2"}) as server:
        assert server.endpoints == [
            f"http://127.0.0.2:{port}",
            f"http://127.0.0.1:{second}",
            f"http://[::1]:{third}",
        ]
        for url in server.endpoints:
            assert _status(f"{url}/v2/health/ready") == 200


@pytest.mark.parametrize("host", ["::", "[::]"])
def test_all_addresses_are_those_of_ipv4_too(tmp_path: Path, host: str) -> None:
    flags = ("--host", host, "--listen", "[::]:0")
    with Server(write_fake(tmp_path / "m.fake"), *flags) as server:
        for url in server.endpoints:
            assert url.startswith("http://127.0.0.1:")
            assert _status(f"{url}/livez") == 200
            assert _status(f"{url.replace('127.0.0.1', '[::1]')}/livez") == 200


def test_who_names_both_kinds_of_addresses_has_both(tmp_path: Path) -> None:
    port = _free_port()
    flags = ("--host", "::", "--port", str(port), "--listen", f"0.0.0.0:{port}")
    with Server(write_fake(tmp_path / "m.fake"), *flags):
        for host in ("127.0.0.1", "[::1]"):
            assert _status(f"http://{host}:{port}/livez") == 200


def test_an_address_of_one_link_is_refused(tmp_path: Path) -> None:
    status, words = _refusal(write_fake(tmp_path / "m.fake"), "--host", "fe80::1%lo")
    assert status == 2
    assert "an address of one link only, with a `%`, is not served" in words


_NUMBERS = {1: "one", 2: "two", 3: "three"}


def _scale(server: Server, model: str, version: str = "") -> float:
    answer = triton_grpc(server.address, model, X, model_version=version)
    return float(answer[0, 0])


def _status(url: str) -> int:
    try:
        return http(url)[0]
    except OSError:  # not listening yet
        return 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# -- who goes first ------------------------------------------------------------------------------


def test_engines_stand_back_from_the_receiver_within_one_session(tmp_path: Path) -> None:
    write_fake(tmp_path / "meek.fake")
    write_fake(tmp_path / "equal.fake")
    meek_entry = {"path": tmp_path / "meek.fake"}
    equal_entry = {"path": tmp_path / "equal.fake", "nice": 0}
    config = write_config(tmp_path / "headrace.yaml", meek_entry, equal_entry)
    with Server("--config", config) as server:
        meek, equal, receiver = (
            server.engine("meek").pid,
            server.engine("equal").pid,
            server.receiver().pid,
        )
        nices = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (meek, equal, receiver)]
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert nices == [min(ours + 10, 19), ours, ours]
        everybody = (meek, equal, receiver, server.process.pid)
        # A session of its own would be weighed as one, whatever the priorities in it.
        assert len({os.getsid(pid) for pid in everybody}) == 1
        # Ctrl-C is the supervisor's alone to hear.
        assert len({os.getpgid(pid) for pid in everybody}) == 4
