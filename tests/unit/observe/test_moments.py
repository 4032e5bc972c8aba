"""Moments of requests, put down and taken."""

from __future__ import annotations

import numpy as np

from headrace.observe.moments import Moments


def test_all_that_is_put_down_is_taken_once_and_in_order() -> None:
    moments, taken, takes = Moments(), [], 0
    for number in range(5000):
        if moments.put(number, *6 * (0.5,)):
            taken.append(moments.take())
            takes += 1
    taken.append(moments.take())
    assert len(moments.take()) == 0
    together = np.concatenate(taken)
    assert together[:, 0].tolist() == list(range(5000))
    assert np.all(together[:, 1:] == 0.5)
    assert 5 < takes < 15, "room for more is made only of a model that is asked more"


def test_what_was_taken_does_not_change_when_more_is_put_down() -> None:
    moments = Moments()
    moments.put(1, 2, 3, 4, 5, 6, 7)
    taken = moments.take()
    moments.put(*7 * (0.0,))
    assert taken.tolist() == [[1, 2, 3, 4, 5, 6, 7]]
