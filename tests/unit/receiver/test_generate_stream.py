"""``generate_stream``: one event, or an error by its status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.receiver.inside import inside


@pytest.mark.parametrize("version", ["", "/versions/1"])
async def test_the_answer_is_one_event(tmp_path: Path, version: str) -> None:
    async with inside("", tmp_path) as server:
        came = await server.ask(
            f"/v2/models/m{version}/generate_stream", b'{"id": "a", "x": [[1, 2, 3, 4]]}'
        )
    assert came.status == 200
    assert came.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert came.body.startswith(b"data: ")
    assert came.body.endswith(b"\n\n")
    assert came.body.count(b"\n") == 2
    event = json.loads(came.body.removeprefix(b"data: "))
    assert event == {"model_name": "m", "model_version": "1", "id": "a", "y": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/models/nobody/generate_stream", b"{}", 404),
        ("/v2/models/m/generate_stream", b"{", 400),
        ("/v2/models/m/generate_stream", b"{}", 400),
        ("/v2/models/m/generate_stream", b'{"x": "text"}', 400),
    ],
)
async def test_what_is_wrong_is_a_status_and_no_event(
    tmp_path: Path, path: str, body: bytes, status: int
) -> None:
    async with inside("", tmp_path) as server:
        came = await server.ask(path, body)
    assert came.status == status
    assert came.headers["content-type"] == "application/json"
    assert list(json.loads(came.body)) == ["error"]
