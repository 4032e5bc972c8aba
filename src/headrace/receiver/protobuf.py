"""The messages of both gRPC protocols, in a descriptor pool of their own.

A private pool lets them live beside an installed ``tensorflow`` or ``tritonclient``, which register
the same names in the global one. ``tools/build_protos.py`` compiles ``protos/*.proto``.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(
    files("headrace.receiver").joinpath("protos/protocols.binpb").read_bytes()
).file:
    _POOL.Add(_file)


def message(name: str) -> Any:
    """Return the message class of that full name."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))
