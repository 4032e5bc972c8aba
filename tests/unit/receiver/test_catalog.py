"""What the receiver knows of its models, and how it refuses the others."""

from __future__ import annotations

import time

import pytest

from headrace.control import ModelState
from headrace.errors import (
    InvalidArgument,
    ModelFailed,
    ModelNotFound,
    NotReady,
    NotResident,
    VersionNotFound,
)
from headrace.observe.metrics import ModelMetrics
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.settings import ModelSettings
from headrace.values import Signature
from tests.profiles import plain


def state(version: int, name: str = "m", is_in: str = "loading", reason: str = "") -> ModelState:
    return ModelState(name=name, version=version, state=is_in, reason=reason)


def served(version: int, name: str = "m") -> ServedModel:
    empty = Signature((), (), batched=True)
    profile = plain(empty)
    return ServedModel(
        name, version, empty, ModelSettings(), (), profile, ModelMetrics(name, version)
    )


def on_demand(version: int, is_in: str = "listed") -> ModelState:
    return ModelState(name="m", version=version, state=is_in, on_demand=True)


def serving(catalog: Catalog, version: int, name: str = "m") -> None:
    catalog.set_state(state(version, name, "serving"))
    catalog.add(served(version, name))


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(configured=True)


def test_no_version_asked_for_means_the_newest_that_serves(catalog: Catalog) -> None:
    serving(catalog, 2)
    serving(catalog, 10)
    catalog.set_state(state(11))
    assert catalog.find("m").version == 10
    assert catalog.find("m", 2).version == 2
    catalog.remove("m", 10)
    assert catalog.find("m").version == 2


def test_refusals_name_what_there_is(catalog: Catalog) -> None:
    serving(catalog, 2)
    catalog.set_state(state(3))
    catalog.set_state(state(1, "broken", "failed", "no such operator"))
    with pytest.raises(ModelNotFound, match="models: m, broken"):
        catalog.find("n")
    with pytest.raises(VersionNotFound, match="versions: 2, 3"):
        catalog.find("m", 9)
    with pytest.raises(NotReady):
        catalog.find("m", 3)
    with pytest.raises(ModelFailed, match="no such operator"):
        catalog.find("broken")


def test_a_refusal_says_what_the_newest_is_at_that_may_serve(catalog: Catalog) -> None:
    now_s = time.time()

    def is_in(version: int, state: str) -> None:
        catalog.set_state(
            ModelState(name="m", version=version, state=state, since_unix_s=now_s - version)
        )

    is_in(3, "failed")
    is_in(5, "evicting")
    with pytest.raises(NotReady, match=r"^model 'm' is not ready$"):
        catalog.find("m")
    is_in(1, "found")
    is_in(2, "warming")
    with pytest.raises(NotReady, match=r"is not ready: warming for \d+ s$"):
        catalog.find("m")
    with pytest.raises(NotReady, match=r"is not ready: found for \d+ s$"):
        catalog.find("m", 1)


def test_of_many_models_a_refusal_names_some(catalog: Catalog) -> None:
    for number in range(10_000):
        serving(catalog, 1, f"model-{number}")
    with pytest.raises(ModelNotFound, match=r"model-19 and 9980 more$"):
        catalog.find("n")
    with pytest.raises(ModelNotFound, match=r"model-19 and 9980 more$"):
        catalog.default()


@pytest.mark.parametrize("is_in", ["listed", "loading", "warming"])
def test_what_is_on_demand_is_ready_and_says_which_version_it_would_be(
    catalog: Catalog, is_in: str
) -> None:
    catalog.set_state(on_demand(3, is_in))
    assert catalog.ready()
    assert catalog.ready("m")
    assert catalog.ready("m", 3)
    for version in (None, 3):
        with pytest.raises(NotResident) as caught:
            catalog.find("m", version)
        assert caught.value.key == ("m", 3)
    serving(catalog, 3)
    assert catalog.find("m").version == 3


def test_the_newest_counts_though_an_older_one_is_in_memory(catalog: Catalog) -> None:
    serving(catalog, 2)
    catalog.set_state(on_demand(1))
    assert catalog.find("m").version == 2
    catalog.set_state(on_demand(3))
    with pytest.raises(NotResident) as caught:
        catalog.find("m")
    assert caught.value.key == ("m", 3)
    assert catalog.find("m", 2).version == 2
    catalog.set_state(on_demand(3, "failed"))
    assert catalog.find("m").version == 2
    catalog.set_state(on_demand(4))
    catalog.set_state(on_demand(4, "unloaded"))
    catalog.forget("m", 4)
    assert catalog.find("m").version == 2


def test_ready_waits_for_all_but_the_failed(catalog: Catalog) -> None:
    catalog.set_state(state(1, "slow"))
    serving(catalog, 1)
    assert not catalog.ready()
    assert catalog.ready("m")
    assert not catalog.ready("slow")
    catalog.set_state(state(1, "slow", "failed"))
    assert catalog.ready()
    catalog.draining = True
    assert not catalog.ready()
    assert not catalog.ready("m")


def test_ready_once_is_ready_while_another_version_loads(catalog: Catalog) -> None:
    serving(catalog, 1)
    assert catalog.ready()
    catalog.set_state(state(2))
    assert catalog.ready()
    assert not catalog.ready("m", 2)
    catalog.draining = True
    assert not catalog.ready()


def test_when_all_there_is_has_failed_nothing_is_ready(catalog: Catalog) -> None:
    catalog.set_state(state(1, "m", "failed"))
    assert not catalog.ready()
    serving(catalog, 2)
    assert catalog.ready()


def test_who_was_ready_is_not_when_all_that_answered_has_failed_since(catalog: Catalog) -> None:
    catalog.complete()
    assert catalog.ready(), "nothing is to be served yet"
    catalog.set_state(state(1, "broken", "failed"))
    assert catalog.ready(), "it has never answered"
    for name in ("m", "other"):
        serving(catalog, 1, name)
    catalog.set_state(state(1, "m", "recovering"))
    catalog.set_state(state(1, "m", "failed"))
    assert catalog.ready(), "another answers"
    catalog.set_state(state(1, "other", "failed"))
    assert not catalog.ready()
    catalog.set_state(state(2, "m", "loading"))
    assert not catalog.ready(), "it has not come back yet"
    serving(catalog, 2)
    assert catalog.ready(), "it has"
    catalog.set_state(state(2, "m", "recovering"))
    catalog.remove("m", 2)
    assert catalog.ready(), "it will"
    catalog.set_state(state(2, "m", "failed"))
    catalog.set_state(state(2, "m", "unloaded"))
    catalog.set_state(state(1, "m", "unloaded"))
    assert not catalog.ready(), "the other has failed"
    catalog.set_state(state(1, "other", "unloaded"))
    assert catalog.ready(), "nothing is to be served any more"


def test_who_takes_the_place_of_a_ready_receiver_awaits_what_served() -> None:
    catalog = Catalog(was_ready=True)
    catalog.set_state(state(1, "m", "serving"))
    catalog.set_state(state(2, "m", "loading"))
    catalog.configured = True
    assert not catalog.ready()
    assert not catalog.ready("m")
    catalog.add(served(1))
    assert catalog.ready()
    assert catalog.ready("m")


def test_a_receiver_that_was_told_nothing_is_not_ready() -> None:
    assert not Catalog().ready()


def test_labels_stand_for_versions_until_they_are_set_anew(catalog: Catalog) -> None:
    serving(catalog, 1)
    catalog.set_labels("m", {"stable": 1, "canary": 2})
    assert catalog.version_of("m", "stable") == 1
    assert catalog.version_of("m", "canary") == 2
    catalog.set_labels("m", {"stable": 2})
    assert catalog.version_of("m", "stable") == 2
    for model, label, error, message in (
        ("m", "canary", InvalidArgument, "^Unrecognized servable version label: canary$"),
        ("n", "stable", ModelNotFound, "unknown model 'n'"),
    ):
        with pytest.raises(error, match=message):
            catalog.version_of(model, label)


def test_the_default_model_is_the_only_one_or_the_named_one(catalog: Catalog) -> None:
    serving(catalog, 1)
    assert catalog.default() == "m"
    serving(catalog, 1, "n")
    with pytest.raises(ModelNotFound, match=r"/predict/<model>"):
        catalog.default()
    catalog.default_model = "n"
    assert catalog.default() == "n"


def test_what_is_forgotten_is_not_known_any_more(catalog: Catalog) -> None:
    serving(catalog, 1)
    catalog.set_state(state(2, is_in="failed"))
    catalog.set_labels("m", {"stable": 1})
    catalog.forget("m", 2)
    assert [one.version for one in catalog.states("m")] == [1]
    with pytest.raises(VersionNotFound):
        catalog.find("m", 2)
    catalog.remove("m", 1)
    catalog.forget("m", 1)
    assert catalog.names() == []
    with pytest.raises(ModelNotFound):
        catalog.version_of("m", "stable")


def test_a_state_that_is_told_again_is_no_move_and_keeps_its_beginning() -> None:
    catalog = Catalog()
    for state, since_s in (("serving", 7.0), ("serving", 0.0), ("recovering", 11.0)):
        catalog.set_state(ModelState(name="m", version=1, state=state, since_unix_s=since_s))
        (entry,) = catalog.entries()
        assert entry.state.since_unix_s == {"serving": 7.0, "recovering": 11.0}[state]
    assert catalog.moves == {("m", "serving"): 1, ("m", "recovering"): 1}
