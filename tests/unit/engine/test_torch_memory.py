"""What a program remembers would reach other clients: however it is written to, it is seen."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.engine import backends
from headrace.errors import ModelLoadError
from headrace.settings import ModelSettings
from tests.contract.test_formats import needs_torch

pytestmark = [
    needs_torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

REMEMBER = {
    "Directly": "seen",
    "ThroughAView": "seen",
    "ThroughASlice": "seen",
    "ThroughAPart": "seen",
    "ThroughOut": "seen",
    "ThroughDropout": "seen",
    "UnderNoGrad": "seen",
    "AfterNoGrad": "seen",
    "Plain": "plain",
    "PlainThroughAView": "plain",
}
FORGET = ("Masks", "Copies", "Converts", "Literal", "Branches")
# Freezing leaves a dropout out, and with it what is written through it.
TRACES = ("Literal", *(name for name in REMEMBER if name != "ThroughDropout"))
TRACED = {
    "inputs": [{"name": "x", "dtype": "FP32", "shape": [2, 4]}],
    "outputs": [{"name": "y", "dtype": "FP32", "shape": [2, 4]}],
}


@pytest.fixture(scope="module")
def programs() -> Any:
    return importlib.import_module("tests.unit.engine.torch_programs")


@pytest.mark.parametrize("name", REMEMBER)
def test_what_an_exported_program_writes_to_is_named(programs: Any, name: str) -> None:
    from headrace.engine.backends import torch_memory  # noqa: PLC0415 - takes seconds

    assert torch_memory.changed(programs.exported(name)) == {REMEMBER[name]}


@pytest.mark.parametrize("name", FORGET)
def test_a_program_that_writes_to_nothing_of_its_own_is_served(
    programs: Any, name: str, tmp_path: Path
) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    program = programs.exported(name)
    torch.export.save(program, tmp_path / "model.pt2")
    instance = backends.load(tmp_path / "model.pt2", ModelSettings())[1].instance()
    x = np.linspace(-1, 2, 8, dtype=np.float32).reshape(2, 4)
    expected = program.module()(torch.from_numpy(x)).detach().numpy()
    for _ in range(2):
        (answer,) = instance.run({"x": x}).values()
        np.testing.assert_allclose(answer, expected, rtol=1e-6)


@pytest.mark.parametrize("name", TRACES)
def test_torchscript_that_was_traced_and_remembers_is_refused(
    programs: Any, name: str, tmp_path: Path
) -> None:
    programs.traced(name).save(tmp_path / "model.pt")
    settings = ModelSettings.model_validate({"signature": TRACED})
    with pytest.raises(ModelLoadError, match=r"it changes (seen|a tensor of its own) when it runs"):
        backends.load(tmp_path / "model.pt", settings)


@pytest.mark.parametrize("name", ["Masks", "Copies"])
def test_torchscript_that_writes_to_nothing_of_its_own_is_served(
    programs: Any, name: str, tmp_path: Path
) -> None:
    programs.traced(name).save(tmp_path / "model.pt")
    settings = ModelSettings.model_validate({"signature": TRACED})
    instance = backends.load(tmp_path / "model.pt", settings)[1].instance()
    x = np.ones((2, 4), np.float32)
    first = instance.run({"x": x})["y"].copy()
    np.testing.assert_array_equal(instance.run({"x": x})["y"], first)
