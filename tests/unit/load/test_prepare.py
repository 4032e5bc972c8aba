"""The requests that are sent, of those that there are, and how many rows they have."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import SettingsError
from headrace.load.command import grammar
from headrace.load.command.prepare import _first, _messages
from headrace.load.command.wanted import read
from headrace.load.data import File
from headrace.values import DType, TensorSpec


def _rows(words: str) -> int | None:
    parser = argparse.ArgumentParser()
    grammar.add(parser)
    said = f"localhost:1 --model m {words}"
    return _messages(read(parser.parse_args(said.split())))[1]


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ("--rate 1 --shape x=FP32:1,4", 1),
        ("--rate 1 --shape x=FP32:8,4", 8),
        ("--rate 1 --shape x=FP32:8,4 --batch 8", 8),
        ("--rate 1 --shape x=FP32:8,4 --shape limit=FP32:1 --batch 8", 8),
        ("--rate 1 --shape x=FP32:8,4 --shape limit=FP32:1", 8),
        ("--rate 1 --shape x=FP32:1000,4 --shape limit=FP32:1", 1000),
        # A state is laid out in layers, and a list of words is no batch.
        ("--rate 1 --shape x=FP32:1,512 --shape state=FP32:2,1,128", 1),
        ("--rate 1 --shape x=FP32:1,4 --shape words=FP32:5", 1),
        ("--rate 1 --shape x=FP32:", None),
        ("--scenario multi-stream --shape x=FP32:1,4", 1),
    ],
)
def test_rows_are_the_first_dimension(words: str, rows: int | None) -> None:
    assert _rows(words) == rows


def test_a_batch_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--batch 8 cannot be had: there is a request of 1 row"):
        _rows("--rate 1 --batch 8 --shape x=FP32:1,4")
    np.save(tmp_path / "x.npy", np.ones((5, 4), np.float32))
    with pytest.raises(SettingsError, match="there is a request of 5 rows"):
        _rows(f"--rate 1 --batch 8 --shape x=FP32:5,4 --data {tmp_path / 'x.npy'}")


def test_a_first_dimension_that_is_fixed_is_not_one_of_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = (TensorSpec("x", DType.FP32, (3, 8, 8)),)
    monkeypatch.setattr("headrace.load.ask.find_specs", lambda *_: image)
    assert _rows("--rate 1") is None
    assert _rows("--scenario single-stream") is None
    with pytest.raises(SettingsError, match="--batch 8 cannot be had: the first dimension"):
        _rows("--rate 1 --batch 8")


def test_that_only_the_first_of_many_requests_are_sent_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    requests = [File(b"%d" % number, "text/plain") for number in range(5000)]
    assert _first([*requests]) == requests[:4096]
    said = "headrace: of the 5,000 requests of --data the first 4,096 are sent, in turn\n"
    assert capsys.readouterr().err == said
    assert _first([*requests[:4096]]) == requests[:4096]
    assert capsys.readouterr().err == ""
