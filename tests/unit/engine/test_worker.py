"""An engine's process, told what to load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.accepts import AcceptedImage, AcceptedText
from headrace.engine_control import EngineFailed, EngineSpec, engine_report
from headrace.message import line
from headrace.settings import ModelSettings


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
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
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
        failed = engine_report.validate_json(engine.stdout.read().splitlines()[-1])
    assert isinstance(failed, EngineFailed)
    assert failed.code == "backend_missing"
    assert f"needs {library}" in failed.message
