"""Which samples there is time for."""

from __future__ import annotations

import numpy as np

from headrace.tune.answers import some
from headrace.tune.data import Samples

SAMPLES = Samples({"x": np.arange(100).reshape(100, 1)}, np.repeat(np.arange(10), 10), "all")


def test_of_samples_that_lie_by_their_classes_some_of_every_class_are_taken() -> None:
    few = some(SAMPLES, 20)
    assert len(few) == 20
    assert few.labels is not None
    assert set(few.labels.tolist()) == set(range(10))
    assert (few.inputs["x"][:, 0] // 10 == few.labels).all()
    assert few.origin == "20 of all"


def test_where_there_are_no_more_all_are_taken() -> None:
    assert some(SAMPLES, 100) is SAMPLES
