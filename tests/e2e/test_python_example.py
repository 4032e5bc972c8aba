"""The example of a Python file: text in, the answer to the nearest question out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

import headrace
from tests.e2e.server import Server
from tests.unit.zoo.shelf import model

EXAMPLES = Path(__file__).parents[2] / "examples"
RETURNS = "Send it back within 30 days; the label is in your account under Returns."
DAMAGED = "We are sorry. Send us a photo, and we send another one at once."
MEANT = {
    "My parcel is broken!": DAMAGED,
    "Can I send it back?": RETURNS,
    "what are the payment options": "By card, by bank transfer, or on account for companies.",
    "the weather is nice": "",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def faq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The example, put together by the commands in its own docstring."""
    home = tmp_path_factory.mktemp("faq")
    (home / ".cache/models").mkdir(parents=True)
    (home / ".cache/models/minilm-text").symlink_to(model("minilm-text"))
    (home / "examples").symlink_to(EXAMPLES)
    lines = (EXAMPLES / "python_model/model.py").read_text("utf-8").splitlines()
    commands = [line for line in map(str.strip, lines) if line.startswith(("mkdir ", "cp "))]
    subprocess.run(["/bin/sh", "-ec", "\n".join(commands)], check=True, cwd=home)
    with Server(home / "faq", "--max-batch", "4") as running:
        yield running


def test_text_gets_the_answer_that_was_meant(faq: Server) -> None:
    for question, answer in MEANT.items():
        reply = requests.post(
            f"{faq.url}/predict/faq",
            data=question.encode(),
            headers={"content-type": "text/plain"},
            timeout=60,
        )
        assert reply.json()["output"]["answer"] == [answer], question


def test_many_questions_at_once_are_answered_as_each_alone(faq: Server) -> None:
    questions = np.array([question.encode() for question in MEANT], object)
    with headrace.Client(f"grpc://{faq.address}", timeout_s=60) as client:
        together = client.infer("faq", {"text": questions})
        alone = [client.infer("faq", {"text": questions[row : row + 1]}) for row in range(4)]
    assert [answer.decode() for answer in together["answer"]] == list(MEANT.values())
    for row, one in enumerate(alone):
        assert one["question"][0] == together["question"][row]
        assert one["similarity"][0] == pytest.approx(together["similarity"][row], abs=1e-2)
