"""Good models with a card, labels or names that are bad."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.contract.bad_models.case import Case
from tests.contract.bad_models.onnx_ import model, saved

# Each line names the one before ten times over.
_ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def _card(content: bytes | str, name: str = "card.yaml") -> Callable[[Path], object]:
    def write(folder: Path) -> object:
        saved(model())(folder)
        data = content.encode() if isinstance(content, str) else content
        return (folder.parent / name).write_bytes(data)

    return write


def _pipe(name: str, card: str = "") -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        if card:
            _card(card)(folder)
        saved(model())(folder)
        os.mkfifo(folder.parent / name)

    return write


def _file_not_text(folder: Path) -> None:
    saved(model())(folder)
    (folder / "model.onnx").rename(os.fsdecode(bytes(folder) + b"/mod\xff.onnx"))


_STATE = (
    "inputs: {x: [FP32, [null, 2]], state: [FP32, [null, 2]]}\n"
    "outputs: {y: [FP32, [null, 2]], stateN: [FP32, [null, 2]]}\n"
)


def _file_of_state(folder: Path) -> None:
    (folder / "model.fake").write_text(_STATE)
    (folder.parent / "card.yaml").write_text(
        "sequence: {state: [{input: state, output: stateN}]}\n"
        "accepts: [{kind: audio, input: state, rate_hz: 8000}]\n"
    )


CASES: tuple[Case, ...] = (
    Case("card-of-aliases", "aliases put in place", _card(_ALIASES)),
    Case("card-of-itself", "alias refers to itself", _card("labels: &a [*a]\n")),
    Case("card-nested", "nested too deeply", _card("labels: " + "[" * 3000 + "]" * 3000)),
    Case("card-not-utf8", "not UTF-8", _card(b"labels: [\xff]\n")),
    Case("card-unknown-key", "frobnicate", _card("frobnicate: 1\n")),
    Case("card-a-pipe", "regular file", _pipe("card.yaml")),
    Case("card-very-large", "larger than", _card("x" * (20 << 20))),
    Case("labels-missing", "labels", _card("labels: nowhere.txt\n")),
    Case("labels-a-pipe", "regular file", _pipe("labels.txt", "labels: labels.txt\n")),
    Case("file-name-not-text", "not UTF-8 text", _file_not_text),
    Case("results-of-nobody", "nobody", _card("results: [{output: nobody, apply: softmax}]\n")),
    Case("accepts-of-state", "no input 'state'; inputs: x$", _file_of_state),
    Case("config-nonsense", "config.pbtxt", _card("max_batch_size: [[[", "config.pbtxt")),
)
