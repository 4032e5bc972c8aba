"""What is sent: the requests of a target, encoded before a run and never in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.load.apis import oip_grpc, oip_rest, plain, tfserving_grpc, tfserving_rest
from headrace.load.apis.contract import Api, Inputs
from headrace.load.plan import Target

APIS: dict[str, Api] = {
    "oip-grpc": oip_grpc.API,
    "oip-rest": oip_rest.API,
    "tfs-grpc": tfserving_grpc.API,
    "tfs-rest": tfserving_rest.API,
    "plain": plain.API,
}
"""Every API there is to load, by name."""


def make_target(
    api: str,
    address: str,
    model: str,
    requests: Sequence[Inputs],
    *,
    prefix: str = "",
    **options: Any,
) -> Target:
    """Make the target that asks a model with these inputs in turn.

    ``prefix`` is the path before the protocol's own, ``options`` are Target's.

    Raises:
        KeyError: there is no such API in ``APIS``.
    """
    wanted = APIS[api]
    messages = tuple(wanted.encode(model, inputs) for inputs in requests)
    return Target(wanted.protocol, address, prefix + wanted.path(model), messages, **options)
