"""Classes of protobuf's messages from a few lines each, instead of generated files.

Only the fields that a load generator needs are written down; others are skipped as unknown fields
are. Names are free in protobuf: numbers and types are the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def make_classes(package: str, messages: Mapping[str, str]) -> dict[str, Any]:
    """Make the classes of messages, in a pool of their own.

    A message is its fields, ``name:number:type``, with ``*`` after the type of a repeated one. A
    map is a repeated message of a key (1) and a value (2), which it is on the wire.
    """
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            label, number, kind = field.split(":")
            plain = kind.rstrip("*")
            one = message.field.add(name=label, number=int(number))
            one.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            if plain in messages:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".{package}.{plain}"
            else:
                one.type = kinds.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }
