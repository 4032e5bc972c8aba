"""What the person who starts the server reads of a model."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from headrace.control import ModelServing
from headrace.screen import show_loaded
from headrace.settings import ModelSettings, Precision
from headrace.values import DType, Signature, TensorSpec
from tests.profiles import plain

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (TensorSpec("y", DType.FP32, (None, 4)),),
    batched=True,
)


@pytest.mark.parametrize(
    ("precision", "layers", "told"),
    [("bf16", 2, "bf16 (2 in f32), "), ("bf16", 0, "bf16, "), ("f32", 2, "f32, ")],
)
def test_layers_in_f32_are_told_where_others_are_in_bf16(
    precision: str, layers: int, told: str
) -> None:
    screen = StringIO()
    serving = ModelServing(
        name="m",
        version=1,
        socket_path="/s",
        settings=ModelSettings(precision=Precision(precision), f32_layers=layers),
        profile=plain(SIGNATURE, "openvino", precision=precision),
    )
    show_loaded(Console(file=screen, width=200), serving)
    assert told in screen.getvalue()
