"""What Headrace does, in two minutes: two real models behind one port, asked in three protocols.

``make demo`` runs it, after setting up what it needs. It fetches the models, starts a server, reads
lines of text and hears speech through it, puts 64 clients on each model, and stops it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray
from requests.exceptions import RequestException
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from tritonclient.utils import InferenceServerException

from examples import speech, text_lines
from headrace.errors import StartError
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop
from headrace.load.report import Report, make_report
from headrace.load.run import run
from headrace.testing import Server, ServerEnded
from zoo.__main__ import shown
from zoo.download import home
from zoo.errors import ZooError
from zoo.models import fetch
from zoo.sources import SPEECH

RECOGNISER = "pp-ocr-rec"
LISTENER = "silero-vad"
LINES = (
    "Invoice No. 20481",
    "Total: 1,234.50 EUR",
    "Gate 7, at 18:45",
    "The quick brown fox",
    "A headrace brings water to a mill wheel",
)
WORDS = ("EUR 42.50", "Gate 7", "Total", "No. 20481", "18:45")
OBJECTIVE_MS = 500
CLIENTS = 64
SECONDS = 5.0

_CLASSES = "softmax_11.tmp_0"
_PHRASES = 6
_TIMEOUT_S = 30
_PIECES_A_MARK = 4
_SETTLING_S = 1.0  # of a crowd's time is not counted

Read = Callable[[str, text_lines.Pixels], NDArray[Any]]


class WrongAnswer(Exception):
    """A model said something else than what is known to be right."""


# What ends the demo with a message; anything else is a bug, and shows its traceback.
_TOLD = (ZooError, ServerEnded, WrongAnswer, StartError, InferenceServerException, RequestException)


def main() -> int:
    """Run the demo and return its exit status."""
    console = Console(highlight=False)
    try:
        _run(console)
    except KeyboardInterrupt:
        return 130
    except _TOLD as error:
        console.print(Text(f"demo: {error}", "bold red"), soft_wrap=True)
        return 1
    return 0


def _run(console: Console) -> None:
    with shown(console, home(os.environ)) as shelf:
        models = fetch([RECOGNISER, LISTENER], shelf)
        recording = shelf.take(SPEECH)
    arguments = [str(_short(model)) for model in models]
    arguments += ["--slo-ms", str(OBJECTIVE_MS), "--log-level", "warning"]
    command = " ".join(["headrace", "serve", *arguments, "--port", "0"])
    console.print(Text(f"$ {command}", "bold"), soft_wrap=True)

    def said(line: str) -> None:
        console.print(Padding(Text(line, "dim"), (0, 0, 0, 2)))

    with Server(*arguments, said=said) as server:
        read_lines(console, server.address, text_lines.alphabet(models[0]))
        hear_speech(console, server.address, recording)
        serve_a_crowd(console, server.address, recording)
        status = server.stop()
    console.print(f"\nSIGTERM: the server finished what it had and left with status {status}.")
    if status:
        raise WrongAnswer(f"the server ended with status {status}, not 0")


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


# -- text ------------------------------------------------------------------------------------------


def read_over_grpc(address: str, image: text_lines.Pixels) -> NDArray[Any]:
    """Open Inference Protocol over gRPC."""
    with tritonclient.grpc.InferenceServerClient(address) as client:
        tensor = tritonclient.grpc.InferInput("x", image.shape, "FP32")
        tensor.set_data_from_numpy(image)
        answer = client.infer(RECOGNISER, [tensor], client_timeout=_TIMEOUT_S)
        return np.asarray(answer.as_numpy(_CLASSES)[0])


def read_over_http(address: str, image: text_lines.Pixels) -> NDArray[Any]:
    """Open Inference Protocol over HTTP, with binary tensors."""
    with tritonclient.http.InferenceServerClient(address) as client:
        tensor = tritonclient.http.InferInput("x", image.shape, "FP32")
        tensor.set_data_from_numpy(image)
        return np.asarray(client.infer(RECOGNISER, [tensor]).as_numpy(_CLASSES)[0])


def read_over_tfserving(address: str, image: text_lines.Pixels) -> NDArray[Any]:
    """TensorFlow Serving over REST, all in JSON."""
    url = f"http://{address}/v1/models/{RECOGNISER}:predict"
    answer = requests.post(url, json={"instances": image.tolist()}, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return np.asarray(answer.json()["predictions"][0])


PROTOCOLS: dict[str, Read] = {
    "tritonclient gRPC": read_over_grpc,
    "its HTTP": read_over_http,
    "TF Serving": read_over_tfserving,
}


def read_lines(console: Console, address: str, characters: list[str]) -> None:
    """Draw lines of text as images, have them read through each protocol, and compare.

    Raises:
        WrongAnswer: a letter was read wrong.
    """
    table = Table("drawn", *PROTOCOLS, title="Lines of text, drawn as images and read")
    wrong = []
    for line in LINES:
        image = text_lines.draw(line)
        answers = [ask(address, image) for ask in PROTOCOLS.values()]
        first, *others = (text_lines.spell(classes, characters).strip() for classes in answers)
        table.add_row(line, first, *("the same" if text == first else text for text in others))
        wrong += [
            f"{line!r} was read as {text!r}"
            for text in (first, *others)
            if not text_lines.same_letters(text, line)
        ]
    console.print()
    console.print(table)
    if wrong:
        raise WrongAnswer("; ".join(wrong))


# -- speech ----------------------------------------------------------------------------------------


def hear_speech(console: Console, address: str, recording: Path) -> None:
    """Send a recording through the listener, 32 ms at a time, and show when somebody speaks.

    Raises:
        WrongAnswer: it heard more or fewer phrases than there are.
    """
    samples = speech.load(recording)
    with tritonclient.grpc.InferenceServerClient(address) as client:

        def ask(piece: speech.Samples, first: bool, last: bool) -> float:
            answer = client.infer(
                LISTENER,
                _tensors(input=piece),
                sequence_id=recording.name,
                sequence_start=first,
                sequence_end=last,
            )
            return float(answer.as_numpy("output")[0, 0])

        probabilities = speech.attend(samples, ask)
    phrases = speech.segments(probabilities)
    seconds = len(samples) / speech.RATE_HZ
    console.print(f"\n[italic]{seconds:.0f} s of speech, heard 32 ms at a time over gRPC[/]")
    console.print(_picture(probabilities), style="green")
    times = ", ".join(f"{start:.1f}-{end:.1f} s" for start, end in phrases)
    console.print(f"{len(phrases)} phrases: {times}")
    if len(phrases) != _PHRASES:
        raise WrongAnswer(f"there are {_PHRASES} phrases in {recording.name}")


def _tensors(**arrays: speech.Samples) -> list[tritonclient.grpc.InferInput]:
    tensors = []
    for name, array in arrays.items():
        tensor = tritonclient.grpc.InferInput(name, array.shape, "FP32")
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def _picture(probabilities: list[float]) -> str:
    """One mark for an eighth of a second: the higher, the surer."""
    marks = "▁▂▃▄▅▆▇█"
    groups = [
        probabilities[at : at + _PIECES_A_MARK]
        for at in range(0, len(probabilities), _PIECES_A_MARK)
    ]
    return "".join(marks[round(max(group) * (len(marks) - 1))] for group in groups)


# -- many at once ----------------------------------------------------------------------------------


def serve_a_crowd(console: Console, address: str, recording: Path) -> None:
    """Keep 64 clients asking, one model after the other, and show what they got.

    Raises:
        WrongAnswer: a request was neither answered nor refused.
    """
    crowds: dict[str, list[dict[str, NDArray[Any]]]] = {
        RECOGNISER: [{"x": text_lines.draw(word)} for word in WORDS],
        LISTENER: [{"input": piece} for piece in speech.pieces(speech.load(recording))],
    }
    table = Table(title=f"{CLIENTS} clients at once, the objective being {OBJECTIVE_MS} ms")
    for column in ("model", "requests/s", "p50", "p99", "goodput/s", "refused", "late"):
        table.add_column(column, justify="left" if column == "model" else "right", no_wrap=True)
    for model, asked in crowds.items():
        with console.status(f"{CLIENTS} clients ask {model} for {SECONDS:.0f} s"):
            report = _load(address, model, asked)
        table.add_row(model, *_cells(report))
        if report.failed:
            raise WrongAnswer(f"{report.failed} requests to {model} failed: {report.outcomes}")
    console.print()
    console.print(table)


def _load(address: str, model: str, asked: Sequence[Mapping[str, NDArray[Any]]]) -> Report:
    """Every client sends its next request when it has its answer; from a process of its own."""
    plan = ClosedLoop(CLIENTS, SECONDS)
    result = run(plan, make_target("oip-grpc", address, model, asked))
    return make_report(result, slo_s=OBJECTIVE_MS / 1e3, warm_s=_SETTLING_S)


def _cells(report: Report) -> Iterator[str]:
    yield f"{report.per_s:,.0f}"
    latency = report.latency
    yield "-" if latency is None else f"{latency.p50_s * 1e3:.0f} ms"
    yield "-" if latency is None else f"{latency.p99_s * 1e3:.0f} ms"
    yield f"{report.goodput_per_s or 0:,.0f}"
    yield f"{report.refused:,}"
    yield f"{report.late:,}"


if __name__ == "__main__":
    sys.exit(main())
