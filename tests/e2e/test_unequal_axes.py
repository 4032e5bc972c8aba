"""Axes that the file calls alike and a client sends unlike: its own fault, and so it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.values import DType
from tests.contract.models import node, write
from tests.e2e.clients import http
from tests.e2e.server import Server


@pytest.mark.slow
def test_axes_of_one_name_are_to_be_equal_where_the_model_fails_of_it(tmp_path: Path) -> None:
    ports = dict.fromkeys(("a", "b"), (DType.FP32, ("N", "L")))
    nodes, given = [node("Add", ["a", "b"], ["y"])], {"y": (DType.FP32, ("N", "L"))}
    write(tmp_path / "both.onnx", nodes, ports, given)
    nodes = [node("Add", ["a", "b"], ["sum"]), node("MatMul", ["sum", "sum"], ["y"])]
    write(tmp_path / "fails.onnx", nodes, ports, given)  # of any but as many rows as columns
    flags = ("--backend", "onnxruntime", "--instances", "1")
    perhaps = (
        "; perhaps because axis 1 of input 'a' is 3 and axis 1 of input 'b' is 2, which the model "
        "calls by one name, 'L'"
    )
    with Server(tmp_path, *flags) as server:

        def ask(b: list[float], model: str = "both") -> tuple[int, Any]:
            body = {"inputs": {"a": [[1, 2, 3]], "b": [b]}}
            return http(f"{server.url}/predict/{model}", body)[:2]

        assert ask([1, 1, 1])[0] == 200
        assert ask([1])[0] == 200  # the model broadcasts, whatever its names say
        status, answer = ask([1, 1])
        assert status == 400
        assert answer["error"].startswith("[ONNXRuntimeError]")
        assert answer["error"].endswith(perhaps)
        for fitting in (3, 1):
            status, answer = ask([1] * fitting, "fails")  # of something else
            assert status == 500
            assert "perhaps" not in answer["error"]
    assert "[E:onnxruntime" not in server.output  # it prints none of the run that failed
