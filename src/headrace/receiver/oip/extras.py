"""What both fronts of the Open Inference Protocol share beside the models: Triton's switches."""

from __future__ import annotations

from headrace.documents import expand
from headrace.receiver.oip.log_settings import LogSettings
from headrace.receiver.oip.shared_memory import Regions
from headrace.receiver.oip.trace_settings import TraceSettings
from headrace.receiver.tracing.tracer import Tracer
from headrace.receiver.tracing.writer import Writer
from headrace.server_settings import ServerSettings


class Extras:
    """The server's shared memory regions, log settings, and traces with their settings."""

    __slots__ = ("_writer", "logging", "regions", "tracer", "tracing")

    def __init__(self, settings: ServerSettings) -> None:
        self.regions = Regions(
            enabled=settings.shared_memory, limit_bytes=int(settings.max_body_mib * 2**20)
        )
        self.logging = LogSettings(
            settings.log_level, settings.log_format, fixed=settings.receivers > 1
        )
        folder = settings.trace_dir
        self._writer = Writer(None if folder is None else expand(folder))
        self.tracer = Tracer(self._writer)
        self.tracing = TraceSettings(self.tracer, self._writer)

    def stop(self) -> None:
        """Have the traces written that are not yet; blocks meanwhile."""
        self._writer.stop()
