"""What is taken of a place that changes while it is looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.loader.remote.listing import RemoteFile
from headrace.loader.remote.ripe import Ripe


def _file(name: str, edition: str = "1") -> RemoteFile:
    return RemoteFile(name, name, 1, edition)


OLD, NEW = _file("m/1/model.onnx"), _file("m/2/model.onnx")


def test_the_first_time_everything_is_taken() -> None:
    assert Ripe(2.0).take(0.0, [OLD, NEW]) == [OLD, NEW]


def test_what_is_new_waits_until_nothing_of_it_has_changed_for_long_enough() -> None:
    ripe = Ripe(2.0)
    weights = _file("m/2/weights.bin")
    assert ripe.take(0.0, [OLD]) == [OLD]
    assert ripe.take(1.0, [OLD, NEW]) == [OLD]
    assert ripe.take(2.9, [OLD, NEW]) == [OLD]
    assert ripe.take(2.9, [OLD, NEW, weights]) == [OLD]
    assert ripe.take(4.8, [OLD, NEW, weights]) == [OLD]
    assert ripe.take(4.9, [OLD, NEW, weights]) == [OLD, NEW, weights]


def test_what_changes_or_goes_stays_as_it_was_until_that_has_settled() -> None:
    ripe = Ripe(2.0)
    changed = _file("m/1/model.onnx", "2")
    assert ripe.take(0.0, [OLD]) == [OLD]
    assert ripe.take(1.0, [changed]) == [OLD]
    assert ripe.take(2.0, []) == [OLD]
    assert ripe.take(3.9, []) == [OLD]
    assert ripe.take(4.0, []) == []
    assert ripe.take(5.0, [OLD]) == []


@given(
    st.lists(
        st.frozensets(
            st.builds(
                _file, st.sampled_from(["m/1/a", "m/1/b", "m/2/a", "c.x"]), st.sampled_from("12")
            )
        ),
        max_size=30,
    )
)
def test_every_version_is_as_it_was_in_two_listings_apart(
    looks: list[frozenset[RemoteFile]],
) -> None:
    """Whatever is taken, the group that it belongs to was so for the whole settle time."""
    ripe = Ripe(2.0)
    for now, listed in enumerate(looks):
        taken = ripe.take(float(now), listed)
        for group in ("m/1/", "m/2/", "c."):
            mine = {file for file in taken if file.name.startswith(group)}
            held = [
                mine == {file for file in look if file.name.startswith(group)}
                for look in looks[: now + 1]
            ]
            assert held[0] or not mine or any(all(held[i : i + 3]) for i in range(now - 1))


def test_a_saved_model_without_a_version_is_taken_when_all_of_it_has_settled() -> None:
    ripe = Ripe(2.0)
    graph, weights = _file("m/bert/saved_model.pb"), _file("m/bert/variables/variables.index")
    other = _file("m/resnet.onnx")
    assert ripe.take(0.0, [OLD]) == [OLD]
    assert ripe.take(1.0, [OLD, graph, other]) == [OLD]
    assert ripe.take(2.5, [OLD, graph, weights, other]) == [OLD]
    assert ripe.take(3.0, [OLD, graph, weights, other]) == [OLD, other]
    assert ripe.take(4.5, [OLD, graph, weights, other]) == [OLD, graph, weights, other]


def test_a_place_whose_name_is_a_date_holds_its_versions_one_by_one() -> None:
    ripe = Ripe(2.0)
    one, two = _file("20241130/m/1/model.onnx"), _file("20241130/n/2/model.onnx")
    assert ripe.take(0.0, [one]) == [one]
    assert ripe.take(1.0, [one, two]) == [one]
    assert ripe.take(2.0, [_file("20241130/m/1/model.onnx", "2"), two]) == [one]
    assert ripe.take(3.0, [_file("20241130/m/1/model.onnx", "3"), two]) == [one, two]


def test_what_comes_to_a_place_that_was_empty_may_be_half_of_it() -> None:
    ripe = Ripe(2.0)
    ripe.begin()
    assert ripe.take(1.0, [NEW]) == []
    assert ripe.take(3.0, [NEW]) == [NEW]
