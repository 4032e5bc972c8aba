"""Models leave memory for others: in the order of their use, with all they have taken answered."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http

from tests.e2e.clients import http, metrics
from tests.e2e.models import write_config, write_fake, write_sum
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

X = np.ones((1, 4), np.float32)
MIB = 2**20


def _write(folder: Path, *names: str, **keys: Any) -> Path:
    for name in names:
        write_fake(folder / name / "1" / "model.fake", **keys)
    return folder


def _states(server: Server) -> dict[str, str]:
    rows = http(f"{server.url}/models")[1]["models"]
    return {row["name"]: row["state"] for row in rows}


def _resident(server: Server) -> set[str]:
    return {name for name, state in _states(server).items() if state == "serving"}


def _memory(server: Server) -> dict[str, float]:
    """Of those in memory, in MiB."""
    rows = http(f"{server.url}/models")[1]["models"]
    return {r["name"]: r["memory_bytes"] / MIB for r in rows if r["memory_bytes"] is not None}


def _ask(server: Server, model: str, value: float = 1) -> tuple[int, Any, Any]:
    return http(f"{server.url}/predict/{model}", {"input": (X * value).tolist()}, timeout_s=60)


def _good(server: Server, *models: str) -> None:
    for model in models:
        status, answer, _ = _ask(server, model)
        assert (status, answer) == (200, {"output": X.tolist()}), model


def _later(call: Callable[..., Any], *arguments: Any) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _listed(places: int, *flags: str) -> Sequence[str]:
    return ("--preload", "false", "--max-resident", str(places), *flags)


def test_the_least_recently_used_model_leaves_for_the_next(tmp_path: Path) -> None:
    with Server(_write(tmp_path, "a", "b", "c", "d"), *_listed(2)) as server:
        _good(server, "a", "b", "a", "c")
        assert _states(server) == {"a": "serving", "b": "listed", "c": "serving", "d": "listed"}
        _good(server, "d")
        assert _resident(server) == {"c", "d"}
        _good(server, "b")  # whoever left comes back
        assert _resident(server) == {"b", "d"}
        assert len(server.engines()) == 2


def test_more_models_than_there_is_room_for_all_answer(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(4)]
    with Server(_write(tmp_path, *names), *_listed(2)) as server:
        order = [name for name in names for _ in range(2)]
        random.Random(5).shuffle(order)
        with ThreadPoolExecutor(6) as pool:
            for future in [pool.submit(_good, server, name) for name in order]:
                future.result()
                assert len(server.engines()) <= 2
        assert metrics(server.url)['headrace_model_moves_total{model="m0",state="loading"}'] >= 1


def test_a_pinned_model_stays_and_takes_no_place_of_the_others(tmp_path: Path) -> None:
    _write(tmp_path, "a", "b", "keep")
    config = write_config(
        tmp_path / "headrace.json.yaml",
        {"path": "keep", "pinned": True},
        {"path": "a", "preload": False},
        {"path": "b", "preload": False},
        max_resident=1,
    )
    with Server("--config", config) as server:
        _good(server, "a", "b", "a")
        assert _resident(server) == {"a", "keep"}


def test_what_a_model_has_taken_is_answered_before_it_leaves(tmp_path: Path) -> None:
    _write(tmp_path, "slow", base_ms=500)
    _write(tmp_path, "next")
    flags = ("--max-batch", "1", "--instances", "1")
    with Server(tmp_path, *_listed(1), *flags) as server:
        _good(server, "slow")
        running = [_later(_ask, server, "slow") for _ in range(2)]
        sample = 'headrace_running_batches{model="slow",version="1"}'
        until(lambda: metrics(server.url).get(sample, 0) > 0)
        _good(server, "next")
        assert {future.result()[0] for future in running} == {200}
        assert _resident(server) == {"next"}


def test_a_model_with_a_live_sequence_stays_and_others_are_told_to_come_again(
    tmp_path: Path,
) -> None:
    _write(tmp_path, "other")
    write_sum(tmp_path / "sum")
    url = "/predict/sum"
    body = {"input": [[1.0, 2.0]]}
    with Server(tmp_path, *_listed(1)) as server:
        start = {"headrace-sequence-id": "7", "headrace-sequence-start": "true"}
        assert http(server.url + url, body, start)[0] == 200
        status, answer, headers = _ask(server, "other")
        assert (status, headers["headrace-error"], headers["retry-after"]) == (503, "no_room", "1")
        assert "sequences live" in answer["error"]
        end = {"headrace-sequence-id": "7", "headrace-sequence-end": "true"}
        assert http(server.url + url, body, end)[1] == {"output": [[2.0, 4.0]]}
        _good(server, "other")


def test_a_model_whose_files_exceed_the_budget_is_refused_for_good(tmp_path: Path) -> None:
    path = _write(tmp_path, "large") / "large/1/model.fake"
    path.write_text("#" * 3 * MIB)
    with Server(tmp_path, "--preload", "false", "--memory-budget-mib", "2") as server:
        status, answer, headers = _ask(server, "large")
        assert (status, headers["headrace-error"]) == (503, "model_too_large")
        for word in ("3 MiB", "2 MiB", "server.memory_budget_mib"):
            assert word in answer["error"]
        assert "retry-after" not in headers
        assert server.engines() == []


def test_a_model_found_to_exceed_the_budget_leaves_and_is_refused_from_then_on(
    tmp_path: Path,
) -> None:
    _write(tmp_path, "large")
    with Server(tmp_path, "--preload", "false", "--memory-budget-mib", "10") as server:
        _good(server, "large")  # nobody could know
        until(lambda: _states(server) == {"large": "listed"})
        assert _ask(server, "large")[2]["headrace-error"] == "model_too_large"


def test_memory_stays_within_the_budget(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    _write(tmp_path, *names)
    with Server(tmp_path, "--preload", "false") as server:
        _good(server, "a")
        until(lambda: _memory(server)["a"] > 0)
        size_mib = _memory(server)["a"]
    budget_mib = 2 * max(size_mib, 96) + 20
    flags = ("--preload", "false", "--memory-budget-mib", str(budget_mib))
    with Server(tmp_path, *flags) as server:
        for _ in range(2):
            for name in names:
                _good(server, name)
                assert sum(_memory(server).values()) <= budget_mib
        assert len(_resident(server)) >= 2


def test_as_many_are_loaded_at_the_start_as_there_is_room_for(tmp_path: Path) -> None:
    with Server(_write(tmp_path, "a", "b", "c"), "--max-resident", "2") as server:
        assert len(_resident(server)) == 2
        assert "1 model loads at its first request" in server.output
        _good(server, "a", "b", "c")
        assert len(_resident(server)) == 2


def test_orders_make_room_too_and_a_changed_model_replaces_itself(tmp_path: Path) -> None:
    _write(tmp_path, "a", "b")
    flags = _listed(1, "--model-control", "explicit")
    with (
        Server(tmp_path, *flags) as server,
        tritonclient.http.InferenceServerClient(server.address, network_timeout=60) as client,
    ):
        client.load_model("a")
        client.load_model("b")
        assert _resident(server) == {"b"}
        _write(tmp_path, "b", scale=2)
        client.load_model("b")  # there is no room for two of it
        assert _ask(server, "b")[1] == {"output": (2 * X).tolist()}
        assert len(server.engines()) == 1
