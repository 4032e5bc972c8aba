"""Encode a large JSON answer, for a process that has the time: the fronts' own functions do it."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.handover.messages import AnswerHead
from headrace.receiver.oip import generate, rest_answer
from headrace.receiver.plain import predict
from headrace.receiver.tfserving import rest as tfserving_rest
from headrace.values import Array, Response


def encode(dialect: Dialect, head: AnswerHead, outputs: Mapping[str, Array]) -> bytes:
    """Write outputs as JSON, as the front of this dialect writes them.

    Raises:
        InvalidInput: they cannot be written in the form that was asked for.
    """
    if dialect is Dialect.TFSERVING:
        return tfserving_rest.encode(head.model, outputs, rows=head.rows).body
    if dialect is Dialect.PLAIN:
        return predict.encode(outputs)
    if dialect is Dialect.GENERATE:
        return generate.encode(Response(head.model, head.version, head.id, outputs))
    if head.reading is not None:
        if dialect is Dialect.CLASSIFY:
            return tfserving_rest.encode_classes(head.reading, outputs)
        return tfserving_rest.encode_values(head.reading, outputs)
    return rest_answer.encode_json(head.model, head.version, head.id, outputs)
