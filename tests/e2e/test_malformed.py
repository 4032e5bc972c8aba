"""Every malformed request of the table is refused as it should, and disturbs nobody."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.contract.calls import send
from tests.contract.malformed import CASES, LIMIT_BYTES, REPOSITORY, Case
from tests.e2e.clients import metrics, outcomes, triton_grpc
from tests.e2e.server import Server

# A refusal takes a few milliseconds; the rest is for a machine that does other things as well.
WITHIN_S = 2.0
X = np.array([[1, -2, 3.5, 4], [0, 5, 6, 7]], np.float32)


@pytest.fixture(scope="module")
def picky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the table's models, and of one that fails when it is given a 13."""
    root = tmp_path_factory.mktemp("malformed")
    files = {f"{name}/1": text for name, text in REPOSITORY.items()}
    files["linear/3"] = REPOSITORY["linear"]
    files["fragile/1"] = "fail_at: 13\nbase_ms: 20\n"
    for folder, text in files.items():
        (root / folder).mkdir(parents=True)
        (root / folder / "model.fake").write_text(text)
    limit = {"HEADRACE_SERVER__MAX_BODY_MIB": str(LIMIT_BYTES / 2**20)}
    with Server(root, "--default-model", "linear", environment=limit) as running:
        yield running


@dataclass
class Witness:
    """A client that asks good questions all the while."""

    address: str
    asked: int = 0
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.stop.is_set():
            try:
                answer = triton_grpc(self.address, "linear", X)
                if not np.array_equal(answer, 2 * X):
                    self.wrong.append(f"{answer}")
            except InferenceServerException as error:
                self.wrong.append(str(error))
            self.asked += 1


@pytest.fixture(scope="module")
def witness(picky: Server) -> Iterator[Witness]:
    witness = Witness(picky.address)
    thread = threading.Thread(target=witness.watch)
    thread.start()
    yield witness
    witness.stop.set()
    thread.join(30)


def test_the_table_has_every_front_and_no_name_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.front for case in CASES} == {
        "grpc",
        "http",
        "oip-grpc",
        "oip-rest",
        "oip-rest-binary",
        "predict",
        "tfserving-grpc",
        "tfserving-rest",
        "triton",
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_with_its_own_status(picky: Server, witness: Witness, case: Case) -> None:
    started = time.monotonic()
    answer = send(picky.address, case.call)
    took_s = time.monotonic() - started
    assert (answer.status, answer.error) == (case.status, case.error), answer.message
    assert re.search(case.message, answer.message), answer.message
    assert len(answer.message) <= 1024
    assert took_s < WITHIN_S
    assert not witness.wrong


def test_a_client_that_hangs_up_in_its_body_disturbs_nobody(
    picky: Server, witness: Witness
) -> None:
    host, _, port = picky.address.rpartition(":")
    for _ in range(10):
        with socket.create_connection((host, int(port)), timeout=3) as stream:
            stream.sendall(
                b"POST /predict/linear HTTP/1.1\r\nhost: a\r\ncontent-length: 999\r\n\r\n{"
            )
    asked_on(witness)


def test_only_the_row_that_fails_fails_in_a_shared_batch(picky: Server) -> None:
    poison = np.array([[1, 13, 1, 1]], np.float32)
    rows = [np.full((1, 4), number, np.float32) for number in range(8)]
    together = threading.Barrier(len(rows) + 1)

    def ask(row: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        together.wait(10)
        return triton_grpc(picky.address, "fragile", row)

    def round_of_nine(pool: ThreadPoolExecutor) -> None:
        answers = [pool.submit(ask, row) for row in rows]
        bad = pool.submit(ask, poison)
        with pytest.raises(InferenceServerException, match="the value 13 is in") as caught:
            bad.result(20)
        assert caught.value.status() == "StatusCode.INTERNAL"
        for row, answer in zip(rows, answers, strict=True):
            np.testing.assert_array_equal(answer.result(20), row)

    with ThreadPoolExecutor(len(rows) + 1) as pool:
        for rounds in range(1, 21):
            round_of_nine(pool)
            # Rows run twice are those that shared a batch with the one that fails.
            if (
                metrics(picky.url)['headrace_batch_rows_sum{model="fragile",version="1"}']
                > 9 * rounds
            ):
                break
        else:
            pytest.fail("it never shared a batch")
    assert outcomes(picky.url, "fragile") == {"ok": 8 * rounds, "inference_failed": rounds}


def test_nobody_else_was_disturbed(picky: Server, witness: Witness) -> None:
    asked_on(witness)
    asked = witness.asked
    counted = {name: outcomes(picky.url, name) for name in REPOSITORY}
    assert counted["linear"]["ok"] >= asked
    assert not any(found.get("internal", 0) for found in counted.values())


def asked_on(witness: Witness) -> None:
    """The witness is still answered, and answered well."""
    asked = witness.asked
    for _ in range(1000):
        if witness.asked > asked:
            break
        witness.stop.wait(0.01)
    assert witness.asked > asked
    assert not witness.wrong
