"""CUDA as far as it can be seen without a GPU: what is said of none, and names it must have."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from headrace.engine import backends
from headrace.errors import DeviceMissing, ModelLoadError
from headrace.settings import ModelSettings
from tests.contract.test_backends import has_gpu, program, script
from tests.contract.test_formats import LINEAR, needs_torch

pytestmark = [needs_torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def torch_cuda() -> Any:
    """Imported here, for that takes seconds."""
    return importlib.import_module("headrace.engine.backends.torch_cuda")


def _settings(**keys: Any) -> ModelSettings:
    return ModelSettings.model_validate({"device": "cuda", **keys})


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_with_what_to_change() -> None:
    for path, keys in ((program(), {}), (script(), {"signature": LINEAR})):
        with pytest.raises(DeviceMissing, match=r"built without CUDA.*pip install|nvidia-smi"):
            backends.load(path, _settings(**keys))


@pytest.mark.parametrize("keys", [{"device": "cpu"}, {"signature": LINEAR}])
def test_16_bits_are_for_programs_on_a_gpu(keys: dict[str, Any]) -> None:
    path = script() if "signature" in keys else program()
    with pytest.raises(ModelLoadError, match=r"precision f32, or a \.pt2 on a GPU"):
        backends.load(path, _settings(precision="f16", **keys))


def test_32_bits_are_not_taken_for_fewer(torch_cuda: Any) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    kinds: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [kind.allow_tf32 for kind in kinds]
    torch_cuda.keep_precise()
    try:
        assert [kind.allow_tf32 for kind in kinds] == [False, False]
        with torch.backends.cudnn.flags():  # as torch.export does
            pass
    finally:
        for kind, allowed in zip(kinds, before, strict=True):
            kind.allow_tf32 = allowed


def test_every_name_of_cuda_that_is_used_is_in_this_pytorch(torch_cuda: Any) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    tree = ast.parse(Path(torch_cuda.__file__).read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_cuda"
    }
    assert {"CUDAGraph", "Stream", "graph_pool_handle", "cudart"} <= used
    assert not [name for name in used if not hasattr(torch.cuda, name)]
    graph = inspect.signature(torch.cuda.graph.__init__).parameters
    assert {"pool", "stream", "capture_error_mode"} <= graph.keys()
    assert "blocking" in inspect.signature(torch.cuda.Event.__new__).parameters


def test_what_a_lane_asks_for_is_what_a_gpu_offers(torch_cuda: Any) -> None:
    asked = importlib.import_module("headrace.engine.backends.torch_lane").Gpu
    for name, member in vars(asked).items():
        if callable(member) and not name.startswith("_"):
            offered = inspect.signature(getattr(torch_cuda.Cuda, name))
            assert list(offered.parameters) == list(inspect.signature(member).parameters), name
