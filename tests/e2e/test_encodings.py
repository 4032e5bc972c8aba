"""Compressed bodies both ways with real clients, and gRPC-Web as a browser sends it."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import urllib.request
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import zstandard

from headrace.receiver.codecs.protobuf import message
from tests.contract.calls import frame, plain, send
from tests.e2e.clients import grpc_request
from tests.e2e.models import write_fake
from tests.e2e.server import Server

pytestmark = pytest.mark.slow

WIDE = np.ones((500, 4), np.float32)
LIMIT_BYTES = 2**20
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
}
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("encodings")
    limit = {"HEADRACE_SERVER__MAX_BODY_MIB": "1"}
    with Server(write_fake(root / "echo.fake"), environment=limit) as running:
        yield running


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritonclient_http_compresses_both_ways(
    quick: Server, algorithm: str, *, binary: bool
) -> None:
    with tritonclient.http.InferenceServerClient(quick.address) as client:
        tensor = tritonclient.http.InferInput("x", WIDE.shape, "FP32")
        tensor.set_data_from_numpy(WIDE, binary_data=binary)
        answer = client.infer(
            "echo",
            [tensor],
            outputs=[tritonclient.http.InferRequestedOutput("y", binary_data=binary)],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
    np.testing.assert_array_equal(answer.as_numpy("y"), WIDE)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritonclient_grpc_compresses(quick: Server, algorithm: str) -> None:
    with tritonclient.grpc.InferenceServerClient(quick.address) as client:
        tensor = tritonclient.grpc.InferInput("x", WIDE.shape, "FP32")
        tensor.set_data_from_numpy(WIDE)
        answer = client.infer("echo", [tensor], compression_algorithm=algorithm)
    np.testing.assert_array_equal(answer.as_numpy("y"), WIDE)


@pytest.mark.parametrize("coding", list(PACK))
def test_http_bodies_are_packed_both_ways(quick: Server, coding: str) -> None:
    body = PACK[coding](json.dumps({"input": WIDE.tolist()}).encode())
    call = plain("POST", "/predict/echo", body, content_encoding=coding, accept_encoding=coding)
    answer = send(quick.address, call)
    assert (answer.status, answer.headers["content-encoding"]) == (200, coding)
    assert answer.headers["vary"] == "accept-encoding"
    assert len(answer.body) < 1000
    assert json.loads(UNPACK[coding](answer.body))["output"] == WIDE.tolist()


def test_small_answers_and_those_nobody_wants_packed_are_sent_as_they_are(quick: Server) -> None:
    for rows, accepted in ((1, "gzip"), (500, "identity"), (500, "br"), (500, "gzip;q=0")):
        call = plain("POST", "/predict/echo", {"input": WIDE[:rows].tolist()})
        answer = send(
            quick.address,
            plain("POST", "/predict/echo", call.body, accept_encoding=accepted),
        )
        assert "content-encoding" not in answer.headers
        assert json.loads(answer.body)["output"] == WIDE[:rows].tolist()


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate", None),  # requests, aiohttp
        ("gzip, deflate, br, zstd", None),  # httpx, browsers
        ("gzip", "gzip"),
        ("deflate", "deflate"),
    ],
)
def test_binary_tensors_are_packed_only_for_who_names_one_coding(
    quick: Server, accepted: str, coding: str | None
) -> None:
    tensor = tritonclient.http.InferInput("x", WIDE.shape, "FP32")
    tensor.set_data_from_numpy(WIDE)
    body, head_bytes = tritonclient.http.InferenceServerClient.generate_request_body([tensor])
    call = plain(
        "POST",
        "/v2/models/echo/infer",
        body,
        inference_header_content_length=str(head_bytes),
        accept_encoding=accepted,
    )
    answer = send(quick.address, call)
    assert (answer.status, answer.headers.get("content-encoding")) == (200, coding)
    assert answer.headers["vary"] == "accept-encoding"
    whole = UNPACK[coding](answer.body) if coding else answer.body
    assert whole.endswith(WIDE.tobytes())


@pytest.mark.parametrize("coding", list(PACK))
def test_bombs_are_refused_at_the_limit(quick: Server, coding: str) -> None:
    bomb = PACK[coding](bytes(100 * LIMIT_BYTES))
    answer = send(quick.address, plain("POST", "/predict/echo", bomb, content_encoding=coding))
    assert (answer.status, answer.error) == (413, "body_too_large")
    assert "server.max_body_mib" in answer.message


# -- gRPC-Web --------------------------------------------------------------------------------------


def _frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        flag, size = struct.unpack_from(">BI", body)
        found.append((flag, body[5 : 5 + size]))
        body = body[5 + size :]
    return found


@pytest.mark.parametrize("text", [False, True])
def test_a_browser_infers_over_grpc_web(quick: Server, *, text: bool) -> None:
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    body = frame(grpc_request("echo", WIDE[:2]).SerializeToString())
    path = "/inference.GRPCInferenceService/ModelInfer"
    sent = base64.b64encode(body) if text else body
    answer = send(quick.address, plain("POST", path, sent, content_type=kind, accept=kind))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind.removesuffix("+proto"))
    whole = base64.b64decode(answer.body) if text else answer.body
    (flag, data), (end_flag, end) = _frames(whole)
    assert (flag, end_flag) == (0, 0x80)
    response = message("inference.ModelInferResponse").FromString(data)
    assert response.raw_output_contents[0] == WIDE[:2].tobytes()
    assert b"grpc-status:0" in end.replace(b" ", b"")


def test_a_browser_is_told_what_is_wrong(quick: Server) -> None:
    body = frame(grpc_request("nobody", WIDE[:2]).SerializeToString())
    path = "/inference.GRPCInferenceService/ModelInfer"
    kind = "application/grpc-web+proto"
    request = urllib.request.Request(f"{quick.url}{path}", body, {"content-type": kind})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
        assert answer.headers["content-type"].startswith("application/grpc-web")
        # Nothing was sent before the error: all of it stands in the headers.
        assert answer.headers["grpc-status"] == "5"
        assert "nobody" in answer.headers["grpc-message"]
