"""Triton's unary extensions over gRPC: configuration, statistics, shared memory, switches.

Source: triton-inference-server/common protobuf/grpc_service.proto and Triton's docs/protocol.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict

from headrace.errors import Unsupported
from headrace.receiver import metadata
from headrace.receiver.codecs.protobuf import message, read, read_parameters, write
from headrace.receiver.exchange import Core, Exchange
from headrace.receiver.oip import model_config, statistics
from headrace.receiver.oip.extras import Extras

NO_CUDA = "memory of a GPU is not taken: use system shared memory, or send the tensors"


class TritonGrpc:
    """The part of ``inference.GRPCInferenceService`` that only Triton has."""

    def __init__(self, core: Core, extras: Extras) -> None:
        self._core = core
        self._catalog = core.catalog
        self._extras = extras

    def methods(self) -> dict[str, Any]:
        """Method path → handler."""
        service = "/inference.GRPCInferenceService/"
        return {
            f"{service}ModelConfig": self.model_config,
            f"{service}ModelStatistics": self.model_statistics,
            f"{service}SystemSharedMemoryStatus": self.system_status,
            f"{service}SystemSharedMemoryRegister": self.system_register,
            f"{service}SystemSharedMemoryUnregister": self.system_unregister,
            f"{service}CudaSharedMemoryStatus": self.cuda_status,
            f"{service}CudaSharedMemoryRegister": self.cuda_register,
            f"{service}CudaSharedMemoryUnregister": self.cuda_unregister,
            f"{service}TraceSetting": self.trace_setting,
            f"{service}LogSettings": self.log_settings,
        }

    async def model_config(self, exchange: Exchange) -> bytes:
        """ModelConfig."""
        asked = read("ModelConfigRequest", exchange.body)
        served = self._catalog.find(asked.name, metadata.read_version(asked.version))
        return _of_json("ModelConfigResponse", {"config": model_config.describe(served)})

    async def model_statistics(self, exchange: Exchange) -> bytes:
        """ModelStatistics."""
        asked = read("ModelStatisticsRequest", exchange.body)
        version = metadata.read_version(asked.version)
        found = await statistics.asked(self._core, asked.name, version)
        return _of_json("ModelStatisticsResponse", {"model_stats": found})

    async def system_status(self, exchange: Exchange) -> bytes:
        """SystemSharedMemoryStatus."""
        asked = read("SystemSharedMemoryStatusRequest", exchange.body)
        rows = self._extras.regions.status(asked.name)
        regions = {row["name"]: row for row in rows}
        return _of_json("SystemSharedMemoryStatusResponse", {"regions": regions})

    async def system_register(self, exchange: Exchange) -> bytes:
        """SystemSharedMemoryRegister."""
        asked = read("SystemSharedMemoryRegisterRequest", exchange.body)
        self._extras.regions.register(asked.name, asked.key, asked.offset, asked.byte_size)
        return write("SystemSharedMemoryRegisterResponse")

    async def system_unregister(self, exchange: Exchange) -> bytes:
        """SystemSharedMemoryUnregister."""
        asked = read("SystemSharedMemoryUnregisterRequest", exchange.body)
        self._extras.regions.unregister(asked.name)
        return write("SystemSharedMemoryUnregisterResponse")

    async def cuda_status(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """CudaSharedMemoryStatus: there is none."""
        return write("CudaSharedMemoryStatusResponse")

    async def cuda_register(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """CudaSharedMemoryRegister."""
        raise Unsupported(NO_CUDA)

    async def cuda_unregister(self, exchange: Exchange) -> bytes:  # noqa: ARG002
        """CudaSharedMemoryUnregister: nothing is registered, so nothing is left."""
        return write("CudaSharedMemoryUnregisterResponse")

    async def trace_setting(self, exchange: Exchange) -> bytes:
        """TraceSetting: reads, after it has changed what the request names."""
        asked = read("TraceSettingRequest", exchange.body)
        if asked.model_name:
            self._catalog.states(asked.model_name)  # an unknown model has none
        named = {key: list(value.value) for key, value in asked.settings.items()}
        values = self._extras.tracing.change(named, asked.model_name)
        settings = {key: {"value": value} for key, value in values.items()}
        return _of_json("TraceSettingResponse", {"settings": settings})

    async def log_settings(self, exchange: Exchange) -> bytes:
        """LogSettings: reads, after it has changed what the request names."""
        asked = read("LogSettingsRequest", exchange.body)
        values = self._extras.logging.change(read_parameters(asked.settings))
        settings = {key: {_LOG_FIELDS[type(value)]: value} for key, value in values.items()}
        return _of_json("LogSettingsResponse", {"settings": settings})


_LOG_FIELDS: dict[type, str] = {bool: "bool_param", int: "uint32_param", str: "string_param"}


def _of_json(kind: str, value: dict[str, Any]) -> bytes:
    return bytes(ParseDict(value, message(f"inference.{kind}")()).SerializeToString())
