"""What would be ready and answer nobody is refused, and told why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.engine.messages import HEAD_BYTES, MAX_FRAME_BYTES, layout_bytes
from headrace.engine.preparing import prepared
from headrace.engine.servable import refuse_unservable
from headrace.engine_control import EngineSpec
from headrace.errors import ModelLoadError
from headrace.settings import BackendName, ModelSettings
from headrace.values import DType, Signature, TensorSpec


def _signature(inputs: int, outputs: int, rank: int = 2) -> Signature:
    spec = TensorSpec("x", DType.FP32, (None,) * rank)
    return Signature((spec,) * inputs, (spec,) * outputs, batched=True)


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        (_signature(2500, 1), "has 2500 inputs, and .* about 1737 can be served: make one tensor"),
        (_signature(1, 2500), "has 2500 outputs, and .* about 1737 can be served"),
        (_signature(1000, 1, rank=8), "has 1000 inputs, and .* about 707 can be served"),
        (_signature(0, 1), "no inputs, and a request needs one"),
    ],
)
def test_too_many_tensors_or_none_are_refused(signature: Signature, words: str) -> None:
    with pytest.raises(ModelLoadError, match=words):
        refuse_unservable(signature)


@pytest.mark.parametrize("signature", [_signature(1700, 1700), _signature(1, 0)])
def test_what_can_be_told_of_is_not(signature: Signature) -> None:
    refuse_unservable(signature)
    for specs in (signature.inputs, signature.outputs):
        assert HEAD_BYTES + layout_bytes(len(spec.shape) for spec in specs) < MAX_FRAME_BYTES


def test_it_is_looked_at_before_the_model_is_warmed_up(tmp_path: Path) -> None:
    path = tmp_path / "m.fake"
    path.write_text(json.dumps({"inputs": {}}))
    settings = ModelSettings(name="m", backend=BackendName.FAKE, instances=1)
    spec = EngineSpec(name="m", version=1, path=str(path), socket_path="", settings=settings)
    with pytest.raises(ModelLoadError, match="no inputs"):
        prepared(spec, lambda _: None)
