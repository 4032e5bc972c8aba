"""A server of KServe's own with two models that double: ``python -m … HTTP_PORT GRPC_PORT``.

In a process of its own, as ``kserve_`` says.
"""

from __future__ import annotations

import sys
from typing import Any

from kserve import InferOutput, InferResponse, Model, ModelServer


class Double(Model):  # type: ignore[misc] # kserve has no types
    """Answers with an array, which goes raw, or with a list, which goes as typed contents."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    def predict(self, payload: Any, *_: Any, **__: Any) -> Any:
        """Double the only input."""
        doubled = payload.inputs[0].as_numpy() * 2
        data = doubled if self.name == "array" else doubled.ravel().tolist()
        output = InferOutput("y", list(doubled.shape), "FP32", data=data)
        return InferResponse(payload.id or "none", self.name, [output])


if __name__ == "__main__":
    http_port, grpc_port = map(int, sys.argv[1:])
    server = ModelServer(http_port=http_port, grpc_port=grpc_port, enable_docs_url=False)
    server.start([Double("array"), Double("list")])
