"""Python files that warm-up cannot know: they filter rows, or look at what is in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contract.models import python
from tests.e2e.clients import http
from tests.e2e.server import Server

pytestmark = pytest.mark.slow

KEEPS = "return {'y': batch['x'][batch['x'][:, 0] > LEAST]}"
LOOKS = """
from headrace.errors import InvalidInput
if not (batch['x'] >= 0).all():
    raise InvalidInput('x must not be negative')
return {'y': batch['x']}"""
PARSES = "import json\nreturn {'n': np.array([len(json.loads(q)) for q in batch['q']])}"


def _write(root: Path, name: str, *code: str, **card: Any) -> None:
    python(root / name / "1" / "model.py", *code)
    (root / name / "card.yaml").write_text(json.dumps(card))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`keeps` rows over 3, as its card says; `some` over 0.5, as is seen; two parse JSON."""
    root = tmp_path_factory.mktemp("python")
    _write(root, "keeps", KEEPS.replace("LEAST", "3"), batched=False)
    _write(root, "some", KEEPS.replace("LEAST", "0.5"))
    _write(root, "looks", LOOKS)
    ports = '{"q": ("BYTES", [None])}', '{"n": ("INT64", [None])}'
    _write(root, "parses", PARSES, *ports, batched=True)
    _write(root, "careful", PARSES, *ports)
    with Server(root, "--instances", "1") as running:
        yield running


def _ask(server: Server, model: str, rows: list[Any]) -> Any:
    status, answer, _ = http(f"{server.url}/predict/{model}", {"input": rows})
    assert status == 200, answer
    return answer["output"]


@pytest.mark.parametrize("model", ["keeps", "some"])
def test_a_model_that_is_not_batched_may_answer_with_fewer_rows(server: Server, model: str) -> None:
    few, many = [0, 1, 2, 3], [4, 5, 6, 7]
    assert _ask(server, model, [few, many, few]) == [many]
    assert _ask(server, model, [few]) == []


def test_a_model_that_looks_at_its_rows_is_batched_where_its_card_says_so(server: Server) -> None:
    for model in ("parses", "careful"):
        assert _ask(server, model, ["[]", "[1, 2]"]) == [0, 2]
    lane = "version 1: python f32, 1 instance(s) of 1 thread(s)"
    assert f"parses {lane}, batches up to 64" in server.output
    assert f"careful {lane}, every request alone" in server.output
    why = "two rows together fail: json.decoder.JSONDecodeError"
    assert re.search(rf"careful .*\n  requests do not share runs: {why}", server.output)


def test_of_those_that_share_a_run_who_is_wrong_is_told_so(server: Server) -> None:
    """The wrong ones are told so; none of the others notices, whoever shared a run."""
    url = f"{server.url}/predict/looks"
    bodies = [[[row, 2, 3, -4 if row % 3 == 0 else 4]] for row in range(24)]
    with ThreadPoolExecutor(len(bodies)) as clients:
        answers = list(clients.map(lambda rows: http(url, {"input": rows}), bodies))
    for row, (status, answer, headers) in enumerate(answers):
        if row % 3:
            assert (status, answer) == (200, {"output": bodies[row]})
        else:
            assert (status, answer) == (400, {"error": "x must not be negative"})
            assert headers["headrace-error"] == "invalid_input"


def test_what_it_raises_while_it_is_warmed_up_is_logged_once(server: Server) -> None:
    raised = [line for line in server.output.splitlines() if '"event":"model_raised"' in line]
    assert len([line for line in raised if "careful" in line]) == 1
