"""Axes that the file calls alike and a client sends unlike: its own fault, and so it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.values import DType
from tests.contract.models import node, write
from tests.e2e.clients import http
from tests.e2e.server import Server


@pytest.mark.slow
def test_axes_of_one_name_are_to_be_equal_where_the_model_fails_of_it(tmp_path: Path) -> None:
    ports = dict.fromkeys(("a", "b"), (DType.FP32, ("N", "L")))
    nodes = [node("Add", ["a", "b"], ["y"])]
    write(tmp_path / "both.onnx", nodes, ports, {"y": (DType.FP32, ("N", "L"))})
    flags = ("--backend", "onnxruntime", "--instances", "1")
    wrong = (
        "axis 1 of input 'b' is 2 and axis 1 of input 'a' is 3: the model calls both 'L', so they "
        "must be equal"
    )
    with Server(tmp_path, *flags) as server:

        def ask(b: list[float]) -> tuple[int, object]:
            return http(f"{server.url}/predict/both", {"inputs": {"a": [[1, 2, 3]], "b": [b]}})[:2]

        assert ask([1, 1, 1])[0] == 200
        assert ask([1])[0] == 200  # the model broadcasts, whatever its names say
        status, answer = ask([1, 1])
        assert status == 400
        assert answer == {"error": wrong}
    assert "[E:onnxruntime" not in server.output  # it prints none of the run that failed
