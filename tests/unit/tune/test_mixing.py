"""How few layers are looked for, and how often it is looked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.tune.mixing import fewest


@given(st.integers(1, 2000))
def test_what_is_found_passes_and_is_hardly_more_than_the_fewest(enough: int) -> None:
    tried: list[int] = []

    def passes(layers: int) -> bool:
        tried.append(layers)
        return layers >= enough

    found = fewest(passes)
    assert found is not None
    assert enough <= found <= enough + max(found // 4, 1)
    assert len(tried) == len(set(tried))
    assert len(tried) <= enough.bit_length() + 3


def test_where_it_cannot_be_told_none_is_known_to_pass() -> None:
    assert fewest(lambda layers: None if layers > 4 else False) is None
    assert fewest(lambda _: None) is None


def test_when_the_time_is_over_what_has_passed_is_taken() -> None:
    assert fewest({1: False, 2: False, 4: False, 8: True}.get) == 8


def test_of_two_layers_the_first_is_tried() -> None:
    assert fewest(lambda layers: True if layers == 1 else None) == 1
