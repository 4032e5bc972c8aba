"""The GPU's benchmark as far as it goes without one: its models, the loop, the judgement."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.__main__ as command
from benchmarks import gpu
from benchmarks.figures import RESULTS
from headrace.engine import choice
from headrace.load.report import Report
from headrace.settings import ModelSettings
from tests.contract.test_backends import has_gpu
from tests.contract.test_formats import needs_torch


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
@pytest.mark.slow
def test_without_a_gpu_it_says_so_and_records_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {file: file.stat().st_mtime_ns for file in RESULTS.iterdir()}
    assert command.main(["gpu"]) == 0
    said = capsys.readouterr().out.strip()
    assert said.startswith("gpu is skipped: ")
    assert len(said.splitlines()) == 1
    assert {file: file.stat().st_mtime_ns for file in RESULTS.iterdir()} == before


@pytest.fixture(scope="module")
def models() -> Any:
    """Imported here, for that takes seconds."""
    return importlib.import_module("benchmarks.gpu_models")


@needs_torch
@pytest.mark.slow
def test_all_of_it_runs_without_a_gpu_when_told_to(models: Any, tmp_path: Path) -> None:
    shape = models.Shape(2, 32, layers=1)
    folder = models.write("resnet50", tmp_path, shape)
    bodies = models.requests("resnet50", 8, 2, shape)
    asked = gpu.Asked("resnet50", "img/s", 5.0, callers=(2,))
    how = gpu.How("cpu", "f32", sizes=(1, 8), rounds=1, bare_s=0.1, served_s=0.6, warm_s=0.1)
    rate, share = gpu.compare(asked, folder, bodies, lambda _: None, how)
    assert rate.value > 0
    assert share.value > 0
    assert share.wanted == 0.9
    assert "5000 ms" in share.name


@needs_torch
@pytest.mark.slow
def test_bert_gives_a_vector_for_each_sentence_and_so_does_the_loop(
    models: Any, tmp_path: Path
) -> None:
    shape = models.Shape(16, 8, 2, 50)
    folder = models.write("bert-base", tmp_path, shape)
    model = choice.choose(folder / "1" / "model.pt2", ModelSettings(), lambda _: None).model
    assert model.signature.batched
    (request,) = models.requests("bert-base", 3, 1, shape)
    (answer,) = model.instance().run(request).values()
    assert answer.shape == (3, 16)
    assert np.isfinite(answer).all()
    assert np.ptp(answer) > 0
    bare: Any = importlib.import_module("benchmarks.gpu_bare")
    device = importlib.import_module("torch").device("cpu")
    found = bare.loop(folder, "f32", device, 0.01, [1, 2])
    assert all(one.rows_per_s > 0 and one.p99_s > 0 for one in found.values())


def _report(**keys: Any) -> Report:
    known: dict[str, Any] = dict.fromkeys(Report.__dataclass_fields__)
    return Report(**{**known, "refused": 0, "late": 0, "failed": 0, "planned": 1000} | keys)


class _Latency:
    p99_s = 0.012


@pytest.mark.parametrize(
    ("keys", "worth"),
    [
        ({"per_s": 100.0, "latency": _Latency()}, 800.0),
        ({"per_s": 100.0, "latency": _Latency(), "refused": 10}, 800.0),
        ({"per_s": 100.0, "latency": _Latency(), "late": 11}, None),
        ({"per_s": 0.0, "latency": None}, None),
    ],
)
def test_a_run_counts_if_almost_all_came_within_the_bar(
    keys: dict[str, Any], worth: float | None
) -> None:
    found = gpu.served(_report(**keys), 4, 0.015)
    assert (None if found is None else found.rows_per_s) == worth
    assert gpu.served(_report(**keys), 4, 0.011) is None
