"""Triton's unary extensions, over REST and gRPC; shared memory is off here."""

from __future__ import annotations

from headrace.receiver.codecs.protobuf import write
from tests.contract.calls import Call, unary
from tests.contract.malformed.case import (
    DIGITS,
    NOT_FOUND,
    UNIMPLEMENTED,
    Case,
    http,
    invalid,
    malformed,
    refused,
)
from tests.contract.malformed.grpc_framing import OIP


def call(method: str, message: bytes = b"") -> Call:
    """A gRPC call of one of Triton's methods."""
    return unary(f"{OIP}/{method}", message)


GENERATE, SHM = "/v2/models/words/generate", "/v2/systemsharedmemory/region/a"
OFF = "server.shared_memory"

CASES: list[Case] = [
    malformed("triton: generate of no JSON", http(GENERATE, b"hello"), "JSON Parse error"),
    malformed("triton: generate of a list", http(GENERATE, []), "must be a JSON object"),
    malformed(
        "triton: generate with parameters in a list",
        http(GENERATE, b'{"parameters":[1]}'),
        '"parameters" must be an object',
    ),
    invalid("triton: generate without the input", http(GENERATE, {"a": 1}), "'text' is missing"),
    invalid("triton: generate with a number for text", http(GENERATE, {"text": 1}), "is BYTES"),
    Case(
        "triton: generate of an unknown model",
        http("/v2/models/nope/generate", {}),
        404,
        "model_not_found",
        "unknown model 'nope'",
    ),
    Case(
        "triton: generate by GET",
        http(GENERATE, method="GET"),
        405,
        "method_not_allowed",
        "takes POST, not GET",
    ),
    Case(
        "triton: configuration of an unknown model",
        http("/v2/models/nope/config", method="GET"),
        404,
        "model_not_found",
        "'nope'",
    ),
    Case(
        "triton: configuration by POST",
        http("/v2/models/words/config"),
        405,
        "method_not_allowed",
        "takes GET, not POST",
    ),
    Case(
        "triton: statistics of an unknown version",
        http("/v2/models/linear/versions/2/stats", method="GET"),
        404,
        "version_not_found",
        "no version 2",
    ),
    Case(
        "triton: statistics of a model that failed",
        http("/v2/models/broken/stats", method="GET"),
        503,
        "model_failed",
        "failed",
    ),
    malformed("triton: log settings in a list", http("/v2/logging", []), "must be a JSON object"),
    malformed("triton: unknown log setting", http("/v2/logging", {"a": 1}), "unknown log setting"),
    malformed("triton: log_info of 1", http("/v2/logging", {"log_info": 1}), "true or false"),
    malformed(
        "triton: negative log_verbose_level",
        http("/v2/logging", {"log_verbose_level": -1}),
        "must be a whole number, not -1",
    ),
    malformed(
        "triton: log_format in lists",
        http("/v2/logging", {"log_format": [[]]}),
        "default or ISO8601",
    ),
    Case(
        "triton: a log_file",
        http("/v2/logging", {"log_file": "/etc/a"}),
        501,
        "unsupported",
        "standard error",
    ),
    malformed(
        "triton: trace_rate of 5000 digits",
        http("/v2/trace/setting", {"trace_rate": DIGITS}),
        "must be a whole number from 1",
    ),
    malformed(
        "triton: trace_rate of an object",
        http("/v2/trace/setting", {"trace_rate": {}}),
        "must be a whole number from 1",
    ),
    malformed(
        "triton: two trace_counts",
        http("/v2/trace/setting", {"trace_count": ["1", "2"]}),
        "takes one value, not 2",
    ),
    malformed("triton: unknown trace setting", http("/v2/trace/setting", {"a": 1}), "unknown"),
    Case(
        "triton: tracing",
        http("/v2/trace/setting", {"trace_level": ["TENSORS"]}),
        501,
        "unsupported",
        "server.trace_dir",
    ),
    malformed(
        "triton: a trace file elsewhere",
        http("/v2/trace/setting", {"trace_file": "../a"}),
        "no path",
    ),
    malformed(
        "triton: a trace file named two dots",
        http("/v2/trace/setting", {"trace_file": ".."}),
        "no path",
    ),
    malformed(
        "triton: tracing on and off",
        http("/v2/trace/setting", {"trace_level": ["OFF", "TENSORS"]}),
        "stands alone",
    ),
    Case(
        "triton: trace settings of an unknown model",
        http("/v2/models/nope/trace/setting", {}),
        404,
        "model_not_found",
        "'nope'",
    ),
    Case(
        "triton: shared memory that is off",
        http(f"{SHM}/register", {"key": "a"}),
        501,
        "unsupported",
        OFF,
    ),
    Case(
        "triton: CUDA memory",
        http("/v2/cudasharedmemory/region/a/register", {}),
        501,
        "unsupported",
        "memory of a GPU",
    ),
    refused(
        "triton: gRPC configuration of no message",
        call("ModelConfig", b"\xff"),
        "is no ModelConfigRequest",
        "malformed_request",
    ),
    refused(
        "triton: gRPC configuration of an unknown model",
        call("ModelConfig", write("ModelConfigRequest", name="nope")),
        "'nope'",
        "model_not_found",
        NOT_FOUND,
    ),
    refused(
        "triton: gRPC statistics of no message",
        call("ModelStatistics", b"\xff"),
        "is no ModelStatisticsRequest",
        "malformed_request",
    ),
    refused(
        "triton: gRPC log settings of no message",
        call("LogSettings", b"\xff"),
        "is no LogSettingsRequest",
        "malformed_request",
    ),
    refused(
        "triton: gRPC trace settings of no message",
        call("TraceSetting", b"\xff"),
        "is no TraceSettingRequest",
        "malformed_request",
    ),
    refused(
        "triton: gRPC shared memory that is off",
        call("SystemSharedMemoryRegister"),
        OFF,
        "unsupported",
        UNIMPLEMENTED,
    ),
    refused(
        "triton: gRPC shared memory of no message",
        call("SystemSharedMemoryUnregister", b"\xff"),
        "is no SystemSharedMemoryUnregisterRequest",
        "malformed_request",
    ),
    refused(
        "triton: gRPC CUDA memory",
        call("CudaSharedMemoryRegister"),
        "memory of a GPU",
        "unsupported",
        UNIMPLEMENTED,
    ),
]
