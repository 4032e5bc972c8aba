"""Every method of every client does what the table in ``docs/conformance.md`` says."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator

import pytest

from tests.conformance import kserve_, tfserving, triton
from tests.conformance.check import Check, World, public
from tests.conformance.table import can_run, checks, render, world, written

pytestmark = pytest.mark.slow

CHECKS = checks()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("conformance") / "models") as running:
        yield running


# Clients of others leave sockets and loops to the garbage collector.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.client}: {check.method}")
def test_every_method_does_what_the_table_says(check: Check, live: World) -> None:
    if not can_run(check):
        pytest.skip(f"{check.client} is not installed: make test installs it")
    asyncio.run(asyncio.wait_for(check.run(live), 60))
    assert written()[check.client, check.method] == check.verdict


def test_the_table_has_no_other_rows() -> None:
    assert set(written()) == {(check.client, check.method) for check in CHECKS}
    assert written() == {(check.client, check.method): check.verdict for check in CHECKS}
    assert render(written()).count("\n") > 20


@pytest.mark.parametrize("name", triton.CLIENTS)
def test_no_method_of_tritonclient_is_left_out(name: str) -> None:
    module = pytest.importorskip(name)
    assert public(module.InferenceServerClient) - triton.PRIVATE <= triton.METHODS.keys()


def test_no_method_of_tensorflow_servings_stubs_is_left_out() -> None:
    pytest.importorskip("tensorflow_serving")
    for client, methods in tfserving.methods().items():
        assert methods == {method for name, method in tfserving.RUNS if name == client}


def test_no_method_of_kserves_clients_is_left_out() -> None:
    if importlib.util.find_spec("kserve") is None:  # imported, it would clash with tritonclient
        pytest.skip("kserve is not installed: make test installs it")
    for client, methods in kserve_.methods().items():
        assert methods == {method for name, method in kserve_.RUNS if name == client}
