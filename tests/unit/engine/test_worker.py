"""An engine's process, told what to load."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from headrace.accepts import AcceptedImage, AcceptedText
from headrace.engine_control import EngineFailed, EngineReady, EngineSpec, engine_report
from headrace.message import line
from headrace.settings import ModelSettings


@contextlib.contextmanager
def _engine(spec: EngineSpec, first: Path) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """An engine that was told this and what it says; Python looks in the folder ``first``."""
    paths = os.pathsep.join([str(first), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-m", "headrace.engine.worker", "m/1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    ) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        engine.stdin.write(line(spec))
        engine.stdin.flush()  # and it stays open: at its end the engine ends
        try:
            yield engine, engine.stdout
        finally:
            engine.kill()


def _spec(
    folder: Path, file: str, settings: ModelSettings, labels: tuple[str, ...] = ()
) -> EngineSpec:
    return EngineSpec(
        name="m",
        version=1,
        path=str(folder / file),
        socket_path=str(folder / "s"),
        settings=settings,
        labels=labels,
    )


@pytest.mark.parametrize(
    ("library", "accepted"),
    [
        ("PIL", AcceptedImage(kind="image", input="photo")),
        ("tokenizers", AcceptedText(kind="text", tokenizer=Path("tokenizer.json"))),
    ],
)
def test_a_library_that_a_card_needs_is_missed_before_the_model_is_loaded(
    library: str, accepted: AcceptedImage | AcceptedText, tmp_path: Path
) -> None:
    (tmp_path / f"{library}.py").write_text("raise ImportError('not here')")
    spec = EngineSpec(
        name="m",
        version=1,
        path=str(tmp_path / "gone.onnx"),  # which would be told, were it looked at
        socket_path="",
        settings=ModelSettings(instances=1, accepts=(accepted,)),
    )
    with _engine(spec, tmp_path) as (_, said):
        failed = engine_report.validate_json(said.read().splitlines()[-1])
    assert isinstance(failed, EngineFailed)
    assert failed.code == "backend_missing"
    assert f"needs {library}" in failed.message


def test_an_engine_whose_lanes_cannot_all_start_says_so_and_ends(tmp_path: Path) -> None:
    (tmp_path / "m.fake").write_text("{}")
    (tmp_path / "sitecustomize.py").write_text(
        "import threading\n"
        "start = threading.Thread.start\n"
        "def refuse(thread):\n"
        "    if thread.name == 'lane-1':\n"
        '        raise RuntimeError("can\'t start new thread")\n'
        "    start(thread)\n"
        "threading.Thread.start = refuse\n"
    )
    spec = _spec(tmp_path, "m.fake", ModelSettings(instances=2))
    with _engine(spec, tmp_path) as (engine, said):
        assert engine.wait(30) == 1
        reports = [engine_report.validate_json(text) for text in said]
    assert not any(isinstance(report, EngineReady) for report in reports)
    assert isinstance(reports[-1], EngineFailed)
    assert "can't start new thread" in reports[-1].message


@pytest.mark.parametrize(
    "labels", [("\x01" * 6_000_000,), ("\u00e9" * 17_000_000,)], ids=["escaped", "accents"]
)
def test_a_model_of_which_too_much_is_to_be_told_is_refused(
    labels: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "m.fake").write_text("{}")
    spec = _spec(tmp_path, "m.fake", ModelSettings(instances=1, labels=Path("labels.txt")), labels)
    with _engine(spec, tmp_path) as (_, said):
        failed = engine_report.validate_json(said.read().splitlines()[-1])
    assert isinstance(failed, EngineFailed)
    assert failed.code == "model_load"
    assert "shorten its labels" in failed.message


def test_a_reason_with_an_endless_name_in_it_is_cut(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w" * 100_000)
    weights.raw_data = bytes(8)
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")
    ]
    node = helper.make_node("MatMul", ["x", weights.name], ["y"])
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [weights])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    spec = _spec(tmp_path, "m.onnx", ModelSettings(instances=1))
    with _engine(spec, tmp_path) as (_, said):
        failed = engine_report.validate_json(said.read().splitlines()[-1])
    assert isinstance(failed, EngineFailed)
    assert failed.message.startswith(f"cannot load {tmp_path / 'm.onnx'}: it declares weights 'www")
    assert failed.message.endswith("www...")
    assert len(failed.message) < 5000
