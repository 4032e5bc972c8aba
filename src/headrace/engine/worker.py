"""The engine process: one version of one model, loaded, warmed up, and served over a socket.

Standard input brings its specification and, by ending, the order to stop; standard output takes its
progress to the supervisor. Whatever libraries print goes to standard error.
"""

from __future__ import annotations

if __name__ == "__main__":
    import headrace.startup  # before all else

import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import structlog

from headrace import media, results
from headrace.engine.affinity import keep_process_to
from headrace.engine.border import begin, cut, refusal
from headrace.engine.item_shapes import slot_bytes
from headrace.engine.own_labels import own_labels
from headrace.engine.own_signature import own_signature
from headrace.engine.preparing import Loaded, prepared
from headrace.engine.reception import Reception
from headrace.engine.servable import refuse_untellable
from headrace.engine.shadow import verify
from headrace.engine.warmup import Warm
from headrace.engine_control import (
    EngineFailed,
    EngineLoading,
    EngineReady,
    EngineSpec,
    Profile,
    SignatureMessage,
)
from headrace.errors import HeadraceError
from headrace.message import Message, line
from headrace.observe.logs import configure
from headrace.priority import stand_back
from headrace.proc import taken_bytes

_log = structlog.get_logger("headrace.engine")

# Two receivers may overlap for a moment while one is replaced.
_BACKLOG = 8
# What a batch may still take once told to stop. The supervisor is stricter, but may be gone.
_FAREWELL_S = 30.0


# Models that may start threads of their own whatever the settings say.
_CODE = (".py", ".pt", ".pt2")


class Engine:
    """Loads, then serves receivers until told to stop."""

    def __init__(self, spec: EngineSpec, reports: BinaryIO, start_s: float) -> None:
        self._spec = spec
        self._reports = reports
        self._start_s = start_s
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._reception: Reception | None = None  # when it listens

    def run(self) -> None:
        """Load, warm up, listen, say so, serve.

        Raises:
            HeadraceError: the model cannot be loaded or warmed up.
        """
        cores = self._spec.cores
        keep_process_to(cores)
        media.check_libraries(self._spec.settings.accepts)  # before a warm-up that may be long
        loaded = self._prepare()
        settings, choice, warm = self._spec.settings, loaded.choice, loaded.warm
        model, instances = choice.model, loaded.instances
        labels = self._labels(warm)
        # The receiver makes the same once more; what is wrong with them is told now, as a failure
        # to load. (An engine that waits for requests has no use for their libraries.)
        seen = results.build(warm.signature, settings.results, labels).signature
        if settings.sequence is not None:
            seen = settings.sequence.visible(seen)
        media.build(seen, settings.accepts, self._spec.tokenizers)
        profile = Profile(
            signature=SignatureMessage.of(warm.signature),
            backend=choice.backend,
            reason=choice.reason,
            precision=model.precision,
            integer_bits=model.integer_bits,
            text_only=getattr(choice.plain, "text_only", False),
            device=settings.device,
            instances=settings.instances or 1,
            stages=len(instances) // (settings.instances or 1),
            threads=settings.threads,
            cores=cores,
            batch_sizes=warm.batch_sizes,
            alone=warm.alone,
            pads=model.fixed_sizes and warm.signature.batched,
            measurements=warm.measurements,
            start_s=self._start_s,
            load_s=loaded.load_s,
            warm_s=loaded.warm_s,
            cached=loaded.cached,
            labels=labels,
            signature_name=settings.signature_name or own_signature(Path(self._spec.path)),
            memory_bytes=taken_bytes(),
        )
        refuse_untellable(profile, settings)
        self._listener.bind(self._spec.socket_path)
        self._listener.listen(_BACKLOG + self._spec.receivers)
        reception = self._reception = Reception(
            self._listener,
            warm.signature,
            warm.batch_sizes if profile.pads else None,
            self._spec.receivers,
            stages=profile.stages,
            pinned_bytes=slot_bytes(warm.signature, warm.shapes, max(warm.batch_sizes)),
        )
        pins = getattr(choice.plain, "pins", False)
        reception.serve(
            instances,
            () if pins else cores,
            lambda: self._report(EngineReady(profile=profile)),
        )

    def _prepare(self) -> Loaded:
        """Load and warm up, in a thread of its own.

        The lanes are this thread's, and so have its priority: where nobody may raise the other's
        again, it stands back all the same if it takes no lane with it.
        """
        settings = self._spec.settings
        lanes = (settings.instances or 1) * settings.threads
        alone = lanes == 1 and Path(self._spec.path).suffix not in _CODE

        def prepare() -> Loaded:
            if alone and self._spec.beside:
                stand_back(threading.get_native_id())
            loaded = prepared(self._spec, self._progress)
            self._verify(loaded)
            return loaded

        with ThreadPoolExecutor(1, "loading") as pool:
            return pool.submit(prepare).result()

    def _verify(self, loaded: Loaded) -> None:
        """Answer as the version that serves, where that is asked."""
        spec, wanted = self._spec, self._spec.settings.verify
        if spec.samples_path is None or not wanted.shadow:
            return
        self._progress("comparing with the version that serves")
        path, signature = Path(spec.samples_path), loaded.warm.signature
        verdict = verify(path, wanted, signature, loaded.instances[0])
        _log.info(
            "version_agrees",
            model=spec.name,
            version=spec.version,
            with_version=verdict.version,
            requests=verdict.requests,
            differences=verdict.differences,
        )

    def _labels(self, warm: Warm) -> tuple[str, ...]:
        """The card's names of classes, or else the file's own; an empty list wants none."""
        spec = self._spec
        if spec.settings.labels is not None:
            return spec.labels
        return own_labels(Path(spec.path), warm.signature)

    @property
    def has_begun(self) -> bool:
        """Whether there may be lanes, whose threads keep the process."""
        return self._reception is not None

    def stop(self) -> None:
        """Finish what runs and end; for another thread."""
        reception = self._reception
        if reception is None:
            os._exit(0)  # still loading: nothing runs that could be finished
        reception.close()

    def _progress(self, step: str) -> None:
        self._report(EngineLoading(step=cut(step)))

    def _report(self, message: Message) -> None:
        self._reports.write(line(message))
        self._reports.flush()


def main() -> int:
    """Run the process; the status is 0 when told to stop, 1 when the model cannot be served."""
    reports = begin()
    orders = os.fdopen(os.dup(0), "rb")  # at the end `sys.stdin` is closed, which a reader prevents
    waits_s = time.monotonic()
    order = orders.readline()
    if not order:
        return 0  # the supervisor died, or wants no engine
    start_s = _age_s() - (time.monotonic() - waits_s)
    spec = EngineSpec.model_validate_json(order)
    configure(spec.log_level, spec.log_format)
    os.nice(spec.settings.nice)  # before there are threads: each inherits it
    engine = Engine(spec, reports, start_s)

    def wait_for_the_end() -> None:
        orders.read()
        engine.stop()
        time.sleep(_FAREWELL_S)
        os._exit(1)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    try:
        engine.run()
        return 0
    except Exception as error:  # noqa: BLE001 - the border of the process
        if not isinstance(error, HeadraceError):
            _log.error("load_failed", exc_info=error)
        refused = refusal(error)
    reports.write(line(EngineFailed(code=refused.code, message=cut(refused.message))))
    reports.flush()
    if engine.has_begun:  # deaf it would never be replaced
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    return 1


def _age_s() -> float:
    """How long ago this process was started (stat, in proc(5))."""
    began_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    headrace.startup.imported()
    sys.exit(main())
