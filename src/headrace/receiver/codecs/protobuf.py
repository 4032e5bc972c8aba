"""The messages of both gRPC protocols, in a descriptor pool of their own.

A private pool lets them live beside an installed ``tensorflow`` or ``tritonclient``, which register
the same names in the global one. ``tools/build_protos.py`` compiles ``protos/*.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from headrace.errors import MalformedRequest

POOL = descriptor_pool.DescriptorPool()
"""All files of ``protos/``."""

_FILES = descriptor_pb2.FileDescriptorSet.FromString(
    files("headrace.receiver").joinpath("protos/protocols.binpb").read_bytes()
).file
for _file in _FILES:
    POOL.Add(_file)


@cache
def message(name: str) -> Any:
    """Return the message class of that full name; kept, for protobuf itself does not keep it."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


def read(kind: str, body: bytes | memoryview) -> Any:
    """Parse a message of the Open Inference Protocol.

    Raises:
        MalformedRequest: the bytes are no such message.
    """
    return parse(message(f"inference.{kind}"), body)


def write(kind: str, /, **fields: Any) -> bytes:
    """Write a message of the Open Inference Protocol."""
    return bytes(message(f"inference.{kind}")(**fields).SerializeToString())


def parse(kind: Any, body: bytes | memoryview) -> Any:
    """Parse a message of that class.

    Raises:
        MalformedRequest: the bytes are none.
    """
    try:
        return kind.FromString(bytes(body))
    except Exception as error:  # upb raises DecodeError, or ValueError for bad UTF-8
        raise MalformedRequest(f"the message is no {kind.DESCRIPTOR.name}: {error}") from error


def services() -> tuple[str, ...]:
    """The full names of the services that the files describe."""
    return tuple(f"{file.package}.{one.name}" for file in _FILES for one in file.service)


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Unwrap the parameters of a message: of requests, tensors, and of loads."""
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        field = parameter.WhichOneof("parameter_choice")
        found[name] = getattr(parameter, field) if field else None
    return found
