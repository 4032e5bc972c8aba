from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import errors, statuses
from headrace.codes import rebuild
from headrace.errors import HeadraceError, ModelLoadError
from headrace.statuses import Blame


def _kinds(root: type[HeadraceError] = HeadraceError) -> Iterator[type[HeadraceError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _kinds(kind)


KINDS = list(_kinds())
LEAVES = [kind for kind in KINDS if not kind.__subclasses__()]
GROUPS = {kind.__name__ for kind in KINDS} - {kind.__name__ for kind in LEAVES}
ROOT = HeadraceError.__name__
SOURCE = Path(errors.__file__).parent


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_in_both_protocols(kind: type[HeadraceError]) -> None:
    error = kind("why")
    assert 400 <= error.http_status < 600
    assert error.grpc_status is not statuses.GrpcStatus.OK
    assert str(error) == error.message == "why"


def test_codes_of_leaves_are_unique_and_the_table_has_no_others() -> None:
    codes = [kind.code for kind in LEAVES]
    assert len(codes) == len(set(codes))
    assert set(statuses.STATUSES) == {kind.code for kind in KINDS}


def test_no_group_is_raised_whose_code_the_docs_do_not_list() -> None:
    """Neither by itself, nor by whoever is given it to raise."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _gives(node)
    ]
    assert found == []


def _gives(call: ast.Call) -> bool:
    """Whether it makes an error of a group, or is told one for another reason than to sort."""
    name = ast.unparse(call.func).rpartition(".")[2]
    told = [] if name in {"isinstance", "split", "suppress"} else call.args
    return name in GROUPS or any(ast.unparse(one) in GROUPS - {ROOT} for one in told)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_is_made_again_of_its_code(kind: type[HeadraceError]) -> None:
    assert type(rebuild(kind.code, "why")) is kind
    assert type(rebuild("no such code", "why")) is errors.InternalError


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_client_is_blamed_exactly_for_4xx_that_are_not_overload(
    kind: type[HeadraceError],
) -> None:
    status = kind("").http_status
    overloaded = issubclass(kind, errors.OverloadError)
    assert (kind.blame is Blame.CLIENT) == (400 <= status < 500 and not overloaded)


def test_the_tree_drawn_at_the_top_is_the_tree() -> None:
    drawn = re.findall(r"(?:├──|└──) (\w+)|^    (\w+)$", errors.__doc__ or "", re.MULTILINE)
    assert [first or second for first, second in drawn] == [kind.__name__ for kind in KINDS]


def test_retry_after_is_carried() -> None:
    assert errors.QueueFull("full", retry_after_s=0.5).retry_after_s == 0.5


def test_a_message_can_be_sent_whatever_it_names() -> None:
    error = ModelLoadError("mod\udcff.onnx: cannot be read")
    assert error.message == str(error) == "mod\\udcff.onnx: cannot be read"
