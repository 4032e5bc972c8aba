"""The GPU's benchmark as far as it goes without one: its models, the loop, the judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.__main__ as command
from benchmarks import gpu
from benchmarks.figures import RESULTS
from headrace.engine import choice
from headrace.load.report import Report
from headrace.loader.card import read_card
from headrace.settings import ModelSettings
from headrace.values import DType
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


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "dtype", "output"),
    [
        ("resnet50", (2, 32), DType.UINT8, (3, 1000)),
        ("bert-base", (16, 8, 2, 50), DType.INT64, (3, 16)),
    ],
)
def test_its_models_are_served_as_they_are_written(
    name: str, size: tuple[int, ...], dtype: DType, output: tuple[int, ...], tmp_path: Path
) -> None:
    from benchmarks import gpu_bare, gpu_models  # noqa: PLC0415 - takes seconds

    shape = gpu_models.Shape(*size)
    folder = gpu_models.write(name, tmp_path, shape)
    card = read_card(folder)
    settings = ModelSettings.model_validate(card.model_dump(exclude_unset=True))
    model = choice.choose(folder / "1" / "model.pt2", settings, lambda _: None).model
    assert model.signature.batched
    assert model.signature.inputs[0].dtype is dtype
    (request,) = gpu_models.requests(name, 3, 1, shape)
    (answer,) = model.instance().run(request).values()
    assert answer.shape == output
    assert np.isfinite(answer).all()
    assert np.ptp(answer) > 0
    found = gpu_bare.measure(folder, "f32", 0.01, [1, 2], device="cpu")
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
