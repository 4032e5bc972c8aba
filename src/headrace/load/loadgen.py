"""MLCommons' LoadGen as the driver: it says when to ask and does the arithmetic, we carry it out.

Its clock runs until an answer has gone through Python here: of fast models it measures that too.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import BackendMissing
from headrace.load.asker import Asker
from headrace.load.plan import Target
from headrace.load.result import OK, Outcome
from headrace.load.scenario import Scenario, other_rows, too_few, too_short

_NAMES = {
    "single-stream": "SingleStream",
    "multi-stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}
# As mlperf.conf has them.
_FEWEST = {"single-stream": 64, "multi-stream": 662, "server": 100, "offline": 1}
_LINE = re.compile(r"^([^:*=\n]+?)[ ]*: *(\S.*)$", re.MULTILINE)
_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What LoadGen is asked to do.

    Attributes:
        scenario: which of the four.
        duration_s: at least so long.
        rate: of the server scenario, and of offline about what is expected.
        slo_s: the bound of the server scenario.
        latency_s: about what an answer takes, of the streams.
        most: queries under way at once.
    """

    scenario: Scenario
    duration_s: float
    rate: float
    slo_s: float
    latency_s: float
    most: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What LoadGen said, how many queries were not answered, and why it is no valid run beside."""

    text: str
    failed: int
    faults: tuple[str, ...] = ()

    @property
    def lines(self) -> dict[str, str]:
        """What it said, by the name of each line."""
        return {name.strip(): value for name, value in _LINE.findall(self.text)}

    @property
    def is_valid(self) -> bool:
        """Whether it is a valid run; LoadGen knows of no failures, so we count them.

        It calls valid, too, what lasted as long as it was told.
        """
        return self.lines.get("Result is") == "VALID" and not self.failed and not self.faults


def library() -> Any:
    """Import LoadGen.

    Raises:
        BackendMissing: it is not installed.
    """
    try:
        import mlperf_loadgen  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BackendMissing(
            "--loadgen needs MLCommons' LoadGen: pip install 'headrace[mlperf]'"
        ) from error
    return mlperf_loadgen


def drive(order: Order, target: Target, folder: Path, going_on: Callable[[int], None]) -> Summary:
    """Have LoadGen load a target; its logs go to the folder.

    ``going_on`` is called now and then with the number of queries answered.

    Raises:
        BackendMissing: LoadGen is not installed.
        StartError: the target does not answer.
    """
    loadgen = library()
    counter = _Counter(loadgen)
    with Asker[list[int]](target, order.most, counter.ended) as asker:
        # In a thread, for it does not hear Ctrl-C.
        thread = threading.Thread(
            target=_run, args=(loadgen, order, asker, len(target.messages), folder), daemon=True
        )
        thread.start()
        while thread.is_alive():
            thread.join(_EVERY_S)
            going_on(counter.answered)
    return Summary(
        (folder / "mlperf_log_summary.txt").read_text("utf-8"),
        counter.failed,
        faults(order, target.rows, counter.answered),
    )


def faults(order: Order, rows: int | None, answered: int) -> tuple[str, ...]:
    """Say why a run is not valid by the rules, whatever LoadGen was told to do."""
    offline = order.scenario.percentile is None
    few = too_few(answered * order.scenario.rows) if offline else []
    return (*too_short(order.duration_s), *other_rows(order.scenario, rows), *few)


class _Counter:
    """Tells LoadGen of every query that has ended."""

    def __init__(self, loadgen: Any) -> None:
        self.answered = 0
        self.failed = 0
        self._loadgen = loadgen

    def ended(self, told: Sequence[tuple[list[int], Outcome]]) -> None:
        for samples, outcome in told:
            self.answered += 1
            self.failed += outcome is not OK
            # No answers are handed over: how fast they are is what is measured, not what they say.
            self._loadgen.QuerySamplesComplete(
                [self._loadgen.QuerySampleResponse(sample, 0, 0) for sample in samples]
            )


def _run(loadgen: Any, order: Order, asker: Asker[list[int]], messages: int, folder: Path) -> None:
    together = order.scenario.rows > 1  # all samples of a query in one request

    def issue(samples: Sequence[Any]) -> None:
        if together:
            asker.submit([([one.id for one in samples], samples[0].index)])
        else:
            asker.submit(([one.id], one.index) for one in samples)

    sut = loadgen.ConstructSUT(issue, lambda: None)
    qsl = loadgen.ConstructQSL(messages, messages, lambda _: None, lambda _: None)
    logs = loadgen.LogSettings()
    logs.log_output.outdir = str(folder)
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    try:
        loadgen.StartTestWithLogSettings(sut, qsl, _settings(loadgen, order), logs)
    finally:
        loadgen.DestroyQSL(qsl)
        loadgen.DestroySUT(sut)


def _settings(loadgen: Any, order: Order) -> Any:
    scenario, settings = order.scenario, loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, _NAMES[scenario.name])
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(order.duration_s * 1e3)
    settings.min_query_count = _FEWEST[scenario.name]
    settings.single_stream_expected_latency_ns = int(order.latency_s * 1e9)
    settings.multi_stream_expected_latency_ns = int(order.latency_s * 1e9)
    settings.multi_stream_samples_per_query = scenario.rows
    settings.server_target_qps = order.rate
    settings.server_target_latency_ns = int(order.slo_s * 1e9)
    settings.server_target_latency_percentile = 0.99
    settings.offline_expected_qps = order.rate
    return settings
