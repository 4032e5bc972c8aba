"""States and refusals in TensorFlow Serving's words."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.control import ModelState
from headrace.errors import ModelNotFound, NotReady, VersionNotFound
from headrace.loader.lifecycle import State
from headrace.receiver.catalog import Catalog
from headrace.receiver.exchange import Core, Exchange
from headrace.receiver.tfserving import status as tfserving_status


@pytest.fixture
def catalog() -> Catalog:
    catalog = Catalog(configured=True)
    catalog.set_state(ModelState(name="m", version=1, state="failed", reason="no such operator"))
    catalog.set_state(ModelState(name="m", version=2, state="loading"))
    return catalog


def test_every_state_has_its_word() -> None:
    assert {state.value for state in State} == set(tfserving_status._STATES)


def test_all_versions_are_told_newest_first(catalog: Catalog) -> None:
    loading, failed = tfserving_status.find(catalog, "m", None)
    assert (loading.version, loading.state, loading.error_code) == (2, "LOADING", "OK")
    assert (failed.version, failed.state, failed.error_code) == (1, "END", "UNKNOWN")
    assert failed.message == "no such operator"
    assert tfserving_status.find(catalog, "m", 1) == [failed]


def test_what_is_unknown_is_told_in_the_words_clients_look_for(catalog: Catalog) -> None:
    with pytest.raises(ModelNotFound, match="Could not find any versions of model n"):
        tfserving_status.find(catalog, "n", None)
    with pytest.raises(VersionNotFound, match="Could not find version 3 of model m"):
        tfserving_status.find(catalog, "m", 3)


def test_a_servable_that_is_not_there_is_named_as_it_was_asked_for(catalog: Catalog) -> None:
    core = Core(catalog, _never)
    exchange = Exchange({}, _never, 0.0)
    with pytest.raises(
        ModelNotFound, match=r"Servable not found for request: Latest\(n\); unknown"
    ):
        tfserving_status.find_served(core, exchange, "n", None)
    with pytest.raises(VersionNotFound, match=r"Servable not found for request: Specific\(m, 7\)"):
        tfserving_status.find_served(core, exchange, "m", 7)
    with pytest.raises(NotReady, match="model 'm' is not ready"):
        tfserving_status.find_served(core, exchange, "m", 2)


def _never(*_: object) -> Any:
    raise AssertionError("nothing is run here")
