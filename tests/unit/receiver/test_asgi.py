"""The one application, without Envoy: what is common to all fronts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace.receiver.codecs.limits import QUESTION_BYTES
from tests.e2e.clients import grpc_request
from tests.unit.receiver.inside import Call, inside


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v2", "/v2/models/m"])
async def test_head_is_get_without_the_body(tmp_path: Path, path: str) -> None:
    async with inside("", tmp_path) as server:
        whole = await server.ask(path, method="GET")
        head = await server.ask(path, method="HEAD")
    assert whole.status == head.status == 200
    assert head.body == b""
    assert head.headers == whole.headers
    assert int(head.headers["content-length"]) == len(whole.body) > 0


async def test_a_verb_that_does_not_fit_is_told_which_do(tmp_path: Path) -> None:
    async with inside("", tmp_path) as server:
        came = await server.ask("/predict/m", method="DELETE")
    assert (came.status, came.headers["allow"]) == (405, "POST")


async def test_grpc_web_is_not_taken_for_grpc(tmp_path: Path) -> None:
    path = "/inference.GRPCInferenceService/ServerLive"
    async with inside("", tmp_path) as server:
        web = await server.ask(path, headers=[(b"content-type", b"application/grpc-web+proto")])
        grpc = await server.ask(
            path, b"\0" * 5, headers=[(b"content-type", b"application/grpc+proto")]
        )
    assert (web.status, web.headers["headrace-error"]) == (404, "route_not_found")
    assert (grpc.status, grpc.headers["grpc-status"]) == (200, "0")


async def test_who_leaves_before_its_body_is_whole_has_reached_no_model(tmp_path: Path) -> None:
    path = "/inference.GRPCInferenceService/ModelInfer"
    message = grpc_request("m", np.ones((1, 4), np.float32)).SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    headers = [(b"content-type", b"application/grpc")]
    async with inside("", tmp_path) as server:
        for _ in range(2):  # its form is known, and what it needs
            answered = await server.ask(path, body, headers=headers)
            assert answered.headers["grpc-status"] == "0"
        left = await server.ask(path, headers=headers, begun=body[:-4])
        page = (await server.ask("/metrics", method="GET")).body.decode()
    assert left.headers["grpc-status"] == "1"
    assert 'headrace_refused_total{outcome="cancelled"} 1.0' in page
    assert 'headrace_requests_total{model="m",outcome="ok",version="1"} 2.0' in page
    assert 'model="m",outcome="cancelled"' not in page


async def test_who_leaves_while_its_batch_runs_was_not_answered(tmp_path: Path) -> None:
    """Plain HTTP: ``send`` does not tell; a client that waited hardly at all is not asked after."""
    body = b'{"input": [[1, 1, 1, 1]]}'
    async with inside("base_ms: 50", tmp_path) as server:
        stayed = await server.ask("/predict/m", body)
        left = await server.ask("/predict/m", body, stays=False)
        page = (await server.ask("/metrics", method="GET")).body.decode()
    assert stayed.status == left.status == 200
    assert 'headrace_requests_total{model="m",outcome="ok",version="1"} 1.0' in page
    assert 'headrace_requests_total{model="m",outcome="cancelled",version="1"} 1.0' in page
    assert 'phase="total",version="1"} 1.0' in page


@pytest.mark.parametrize(
    "path",
    [
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ModelReady",
        "/tensorflow.serving.ModelService/GetModelStatus",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ],
)
async def test_of_a_question_no_more_is_read_than_one_can_have(tmp_path: Path, path: str) -> None:
    call = Call()
    call.say(b"\0" + (2**20).to_bytes(4, "big"))
    for _ in range(64):
        call.say(bytes(2**10))
    async with inside("", tmp_path) as server:
        await server.call(path, call)
    (told,) = [one for one in call.sent if "headers" in one]
    lines = dict(told["headers"])
    assert lines[b"headrace-error"] == b"body_too_large"
    assert b"max_body_mib" not in lines[b"grpc-message"]  # it would not help
    assert call.unread >= 64 - QUESTION_BYTES // 2**10
