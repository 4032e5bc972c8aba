"""Real weights behind a real server: what is known of them holds through every protocol."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc

from examples import demo, speech, text_lines
from headrace.testing import Server as HeadraceServer
from headrace.testing import ServerEnded
from tests.e2e.clients import metrics
from tests.e2e.server import Server
from tests.unit.zoo.shelf import model, sample
from tests.unit.zoo.test_facts import GUITAR, INSTRUMENT, STOCKS
from zoo.sources import SPEECH

EXAMPLES = Path(demo.__file__).parent

# The models are downloaded the first time, and warmed up at every size each time.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def real() -> Iterator[Server]:
    """A server with the three models that are used as shipped."""
    folders = [model(name) for name in (demo.RECOGNISER, demo.LISTENER, "minilm-int8")]
    with Server(*folders, "--max-batch", "4") as running:  # larger ones are warmed up, slowly
        yield running


@pytest.fixture(scope="module")
def characters() -> list[str]:
    return text_lines.alphabet(model(demo.RECOGNISER))


def _infer(address: str, name: str, **inputs: Any) -> Any:
    with tritonclient.grpc.InferenceServerClient(address) as client:
        tensors = []
        for key, array in inputs.items():
            kind = "INT64" if array.dtype == np.int64 else "FP32"
            tensors.append(tritonclient.grpc.InferInput(key, array.shape, kind))
            tensors[-1].set_data_from_numpy(array)
        return client.infer(name, tensors)


# -- text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", demo.PROTOCOLS)
@pytest.mark.parametrize("line", demo.LINES)
def test_every_protocol_reads_the_line(
    real: Server, characters: list[str], protocol: str, line: str
) -> None:
    classes = demo.PROTOCOLS[protocol](real.address, text_lines.draw(line))
    assert text_lines.same_letters(text_lines.spell(classes, characters), line)


def test_lines_of_many_widths_at_once_are_read_as_they_are_alone(
    real: Server, characters: list[str]
) -> None:
    lines = [f"{line} {number}" for number in range(6) for line in demo.LINES]
    images = [text_lines.draw(line) for line in lines]
    with ThreadPoolExecutor(len(images)) as pool:
        read = list(pool.map(lambda image: demo.read_over_grpc(real.address, image), images))
    wrong = [
        (line, text)
        for line, text in zip(lines, (text_lines.spell(r, characters) for r in read), strict=True)
        if not text_lines.same_letters(text, line)
    ]
    assert wrong == []


# -- speech ----------------------------------------------------------------------------------------


STREAMS = 32


def _hear(address: str, sequence: int) -> list[float]:
    """Send the recording as one sequence."""
    with tritonclient.grpc.InferenceServerClient(address) as client:

        def ask(piece: speech.Samples, first: bool, last: bool) -> float:
            tensor = tritonclient.grpc.InferInput("input", piece.shape, "FP32")
            tensor.set_data_from_numpy(piece)
            flags = {"sequence_start": first, "sequence_end": last}
            answer = client.infer(demo.LISTENER, [tensor], sequence_id=sequence, **flags)
            return float(answer.as_numpy("output")[0, 0])

        return speech.attend(speech.load(sample(SPEECH)), ask)


def test_a_recording_heard_piece_by_piece_has_six_phrases(real: Server) -> None:
    phrases = speech.segments(_hear(real.address, 1))
    assert len(phrases) == 6
    assert phrases[0] == pytest.approx((0.35, 1.18), abs=0.05)


def test_many_recordings_at_once_share_batches_and_are_heard_as_alone(real: Server) -> None:
    alone = _hear(real.address, 1)
    name = f'{{model="{demo.LISTENER}",version="1"}}'
    before = metrics(f"http://{real.address}")
    with ThreadPoolExecutor(STREAMS) as pool:
        together = list(pool.map(partial(_hear, real.address), range(2, STREAMS + 2)))
    after = metrics(f"http://{real.address}")
    for heard in together:
        np.testing.assert_allclose(heard, alone, atol=1e-5)
        assert len(speech.segments(heard)) == 6
    rows, runs = (
        after[f"headrace_batch_rows_{part}{name}"] - before[f"headrace_batch_rows_{part}{name}"]
        for part in ("sum", "count")
    )
    assert rows == STREAMS * len(alone)
    assert rows / runs > 1.1  # how many share one is the load of the machine
    assert after[f"headrace_sequences{name}"] == 0


# -- sentences -------------------------------------------------------------------------------------


def test_sentences_of_different_lengths_keep_their_meaning_when_padded(real: Server) -> None:
    def embed(tokens: list[int]) -> Any:
        ids = np.array([tokens], np.int64)
        answer = _infer(
            real.address,
            "minilm-int8",
            input_ids=ids,
            attention_mask=np.ones_like(ids),
            token_type_ids=np.zeros_like(ids),
        )
        states = answer.as_numpy("last_hidden_state")
        assert states.shape == (1, len(tokens), 384)
        embedding = states[0].mean(0)
        return embedding / np.linalg.norm(embedding)

    with ThreadPoolExecutor(3) as pool:
        guitar, instrument, stocks = pool.map(embed, (GUITAR, INSTRUMENT, STOCKS))
    assert guitar @ instrument == pytest.approx(0.684, abs=0.03)
    assert guitar @ stocks == pytest.approx(-0.054, abs=0.03)


# -- the examples ----------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["grpc", "http", "tfserving"])
def test_the_example_clients_ask_any_model(server: Server, client: str) -> None:
    answer = subprocess.run(
        [
            sys.executable,
            EXAMPLES / f"client_{client}.py",
            server.address,
            "linear",
            "x=[[1,2,3,4]]",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    name, _, values = answer.stdout.partition(" = ")
    assert name == ("outputs" if client == "tfserving" else "y")
    assert values.strip() == "[[100.0, 200.0, 300.0]]"


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    said: list[str] = []
    nothing = str(tmp_path / "nothing.onnx")
    with (
        pytest.raises(ServerEnded, match="no such file or folder"),
        HeadraceServer(nothing, said=said.append),
    ):
        raise AssertionError("there is nothing to serve")
    assert any("nothing.onnx" in line for line in said)
