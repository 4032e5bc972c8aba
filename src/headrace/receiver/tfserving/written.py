"""Messages of TensorFlow Serving written from arrays: protobuf's own way takes an object a number.

What takes long here is numpy's work, most of which lets go of Python's lock.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from headrace.receiver.codecs.wire import delimited, varint
from headrace.receiver.tfserving.results import Classes
from headrace.values import Array

_FLOAT_BYTES = 4
# A float is field 2 of a Class, and field 1 of a Regression.
_SCORE, _VALUE = b"\x15", b"\x0d"
_LABEL = 1


def classification_result(classes: Classes) -> bytes:
    """Write a ClassificationResult: of each example a label and a score for each class."""
    written, at = [], 0
    for labels, same in itertools.groupby(classes.labels):
        rows = sum(1 for _ in same)
        written.append(_classes(tuple(labels)).filled(classes.scores[at : at + rows]))
        at += rows
    return b"".join(written)


def regression_result(values: Array) -> bytes:
    """Write a RegressionResult: a value an example."""
    return _REGRESSION.filled(values.reshape(-1, 1))


class Form(NamedTuple):
    """What the rows of an answer have in common, and where in that their floats begin."""

    row: bytes
    places: Array

    @classmethod
    def of(cls, heads: Sequence[bytes]) -> Form:
        """Make a form of what stands before each float, behind a tag and the length of it all."""
        sizes = [len(head) + _FLOAT_BYTES for head in heads]
        beginning = b"\x0a" + varint(sum(sizes))
        places = np.cumsum(sizes, dtype=np.int64) + (len(beginning) - _FLOAT_BYTES)
        return cls(beginning + b"".join(head + bytes(_FLOAT_BYTES) for head in heads), places)

    def filled(self, floats: Array) -> bytes:
        """Write a row for each of these [rows, floats of one]."""
        rows = np.tile(np.frombuffer(self.row, np.uint8), (len(floats), 1))
        at = (self.places[:, None] + np.arange(_FLOAT_BYTES)).ravel()
        rows[:, at] = np.ascontiguousarray(floats, "<f4").view(np.uint8)
        return rows.tobytes()


_REGRESSION = Form.of([_VALUE])


@lru_cache(maxsize=16)
def _classes(labels: tuple[str, ...]) -> Form:
    """The form of an example with these labels: as a rule those of the card, again and again."""
    heads = []
    for label in labels:
        named = delimited(_LABEL, label.encode()) if label else b""
        size = len(named) + len(_SCORE) + _FLOAT_BYTES
        heads.append(b"".join((b"\x0a", varint(size), named, _SCORE)))
    return Form.of(heads)
