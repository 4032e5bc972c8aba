"""gRPC's server reflection: which services there are, and the files that describe them.

Source: grpc/doc/server-reflection.md. ``v1`` and ``v1alpha`` are the same but for their names.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from google.protobuf import descriptor_pb2

from headrace.receiver.codecs.protobuf import POOL, message, parse, services
from headrace.receiver.stream import Stream, StreamHandler
from headrace.statuses import GrpcStatus

VERSIONS = ("v1", "v1alpha")


class Reflection:
    """The ``grpc.reflection`` front, both versions."""

    def streams(self) -> dict[str, StreamHandler]:
        """Method path → handler of a stream."""
        return {
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": partial(
                self.converse, f"grpc.reflection.{version}"
            )
            for version in VERSIONS
        }

    async def converse(self, package: str, stream: Stream) -> None:
        """ServerReflectionInfo: an answer for each question, an error of one is an answer too."""
        question = message(f"{package}.ServerReflectionRequest")
        response = message(f"{package}.ServerReflectionResponse")
        async for body in stream.messages():
            asked = parse(question, body)
            answer = response(valid_host=asked.host, original_request=asked)
            _fill(answer, asked)
            await stream.send(bytes(answer.SerializeToString()))


def _fill(answer: Any, asked: Any) -> None:
    kind = asked.WhichOneof("message_request")
    try:
        match kind:
            case "list_services":
                for name in services():
                    answer.list_services_response.service.add(name=name)
            case "file_by_filename":
                _describe(answer, POOL.FindFileByName(asked.file_by_filename))
            case "file_containing_symbol":
                _describe(answer, _containing(asked.file_containing_symbol))
            case "all_extension_numbers_of_type":  # the messages are proto3: there are none
                kind_name = asked.all_extension_numbers_of_type
                POOL.FindMessageTypeByName(kind_name)
                answer.all_extension_numbers_response.base_type_name = kind_name
            case "file_containing_extension":
                _refuse(answer, GrpcStatus.NOT_FOUND, "no message here has extensions")
            case _:
                _refuse(answer, GrpcStatus.INVALID_ARGUMENT, "the request asks nothing")
    except KeyError:
        named = getattr(asked, str(kind))
        _refuse(answer, GrpcStatus.NOT_FOUND, f"{named!r} is not known: ask for list_services")


def _containing(symbol: str) -> Any:
    """The file of a symbol; the pool knows no methods, which are asked for too.

    Raises:
        KeyError: there is no such symbol.
    """
    try:
        return POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        service, _, method = symbol.rpartition(".")
        found = POOL.FindServiceByName(service)
        return found.methods_by_name[method].containing_service.file


def _describe(answer: Any, file: Any) -> None:
    """Answer with a file and all it imports, each before what it imports.

    So the client need not ask again, and may add them to a pool from the last to the first.
    """
    for one in reversed(_with_imports(file, {}).values()):
        described = descriptor_pb2.FileDescriptorProto()
        one.CopyToProto(described)
        answer.file_descriptor_response.file_descriptor_proto.append(described.SerializeToString())


def _with_imports(file: Any, found: dict[str, Any]) -> dict[str, Any]:
    """All that a file imports, then itself."""
    for one in file.dependencies:
        if one.name not in found:
            _with_imports(one, found)
    found[file.name] = file
    return found


def _refuse(answer: Any, status: GrpcStatus, text: str) -> None:
    answer.error_response.error_code = int(status)
    answer.error_response.error_message = text
