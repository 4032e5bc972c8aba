"""What is remembered of a request, and that it is never much."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.receiver.forms import FORM_BYTES
from headrace.receiver.oip.template import Template, make_template
from headrace.values import Request
from tests.e2e.clients import grpc_request

X = np.ones((1, 4 * FORM_BYTES), np.float32)


def _template(beside: str) -> Template | None:
    message = grpc_request("m", X)
    message.parameters["unknown"].string_param = beside
    return make_template(message.SerializeToString(), None, Request("m", None, {"x": X}, 0.0))


def test_a_template_has_all_but_the_tensors() -> None:
    template = _template("something")
    assert template is not None
    assert b"something" in b"".join(expected for _, expected in template.fixed)
    assert sum(len(expected) for _, expected in template.fixed) < FORM_BYTES


@pytest.mark.parametrize("size", [FORM_BYTES, 100 * FORM_BYTES])
def test_of_a_request_with_much_beside_its_tensors_nothing_is_kept(size: int) -> None:
    assert _template("s" * size) is None
