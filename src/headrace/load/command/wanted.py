"""What the flags mean, checked before anything is done."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.errors import SettingsError
from headrace.load.address import Address, read_address
from headrace.load.arrivals import Arrivals, bursts, constant, poisson
from headrace.load.plan import ClosedLoop, Headers, OpenLoop, Plan
from headrace.load.scenario import SCENARIOS, SHORTEST_S, Scenario
from headrace.load.synthetic import Shape
from headrace.values import DType

_DURATION_S = 10.0
_TIMEOUT_S = 10.0
# All are planned before the first is sent, and noted until the end: gigabytes of times.
_MOST_REQUESTS = 50_000_000
_WARM_UP_SHARE, _WARM_UP_S = 0.1, 2.0
_TRACE = "trace:"
_MS = 1e3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A load as it was asked for.

    ``duration_s`` None: 10 seconds, or all of a trace. ``rate`` and ``concurrency``: one of them,
    or of a trace none. ``other_model``: of the second server of a comparison.
    """

    address: Address
    model: str
    other_model: str | None
    protocol: str
    rate: float | None
    concurrency: int | None
    arrivals: str
    duration_s: float | None
    warm_up_s: float | None
    senders: int
    connections: int | None
    timeout_s: float
    seed: int
    rows: int
    data: Path | None
    shapes: dict[str, Shape]
    headers: Headers
    slo_s: float | None
    lag_limit_s: float | None
    scenario: Scenario | None

    @property
    def where(self) -> str:
        """Which model, at which server."""
        return f"{self.model} at {self.address.authority}{self.address.prefix}"

    def plan(self) -> Plan:
        """Make the plan.

        Raises:
            SettingsError: there is none with these numbers, or the trace cannot be read.
        """
        try:
            return _plan(self)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def warm_s(self, duration_s: float) -> float:
        """How much of a run is not counted.

        Raises:
            SettingsError: nothing of it would be.
        """
        if self.warm_up_s is None:
            return min(_WARM_UP_SHARE * duration_s, _WARM_UP_S)
        if self.warm_up_s >= duration_s:
            raise SettingsError(
                f"--warm-up-s {self.warm_up_s:g} leaves nothing to count of {duration_s:g} s: give "
                "a shorter one, or a longer load"
            )
        return self.warm_up_s


def read(options: argparse.Namespace) -> Wanted:
    """Read the flags.

    Raises:
        SettingsError: they do not go together, or a value cannot be.
    """
    _check_texts(options)
    scenario = None if options.scenario is None else SCENARIOS[options.scenario]
    if scenario is not None:
        options = _as_scenario(options, scenario)
    _check(options)
    return Wanted(
        address=read_address(options.compare[0] if options.compare else options.url),
        model=options.model[0],
        other_model=options.model[1] if len(options.model) > 1 else None,
        protocol=options.protocol,
        rate=options.rate,
        concurrency=options.concurrency,
        arrivals=options.arrivals,
        duration_s=options.duration_s,
        warm_up_s=options.warm_up_s,
        senders=options.senders,
        connections=options.connections,
        timeout_s=options.timeout_s or _timeout_s(options),
        seed=options.seed,
        rows=options.batch or 1,
        data=options.data,
        shapes=dict(_shape(text) for text in options.shape),
        headers=tuple(_header(text) for text in options.header),
        slo_s=None if options.slo_ms is None else options.slo_ms / _MS,
        lag_limit_s=None if options.lag_limit_ms is None else options.lag_limit_ms / _MS,
        scenario=scenario,
    )


def _as_scenario(options: argparse.Namespace, scenario: Scenario) -> argparse.Namespace:
    """The flags that a scenario stands for; what contradicts it is an error."""
    if options.find_max or options.compare:
        raise SettingsError("--scenario, --find-max or --compare: one of them")
    if options.batch not in {None, scenario.rows} or options.arrivals != _ARRIVALS[0]:
        raise SettingsError(f"--scenario {scenario.name} says itself --batch and --arrivals")
    if options.loadgen and options.warm_up_s is not None:
        raise SettingsError("--loadgen counts every query: no --warm-up-s")
    asked = dict(vars(options))
    if scenario.callers is None:
        if options.rate is None or options.slo_ms is None or options.concurrency is not None:
            raise SettingsError(f"--scenario {scenario.name} needs --rate and --slo-ms")
    elif options.rate is not None:
        raise SettingsError(f"--scenario {scenario.name} has no --rate")
    elif scenario.callers > 1:
        asked["concurrency"] = _given(options.concurrency, scenario.callers)
    elif options.concurrency is not None or options.senders > 1:
        raise SettingsError(f"--scenario {scenario.name} has one caller")
    else:
        asked["concurrency"] = scenario.callers
    asked["batch"] = scenario.rows
    asked["duration_s"] = _given(options.duration_s, SHORTEST_S)
    asked["warm_up_s"] = _given(options.warm_up_s, 0.0)  # LoadGen counts every query
    return argparse.Namespace(**asked)


def _given(said: float | None, otherwise: float) -> float:
    """What a flag says, be it 0, which is refused where it cannot be."""
    return otherwise if said is None else said


def _check_texts(options: argparse.Namespace) -> None:
    """See that what goes over the wire can: bytes of the command line may be no text."""
    urls = [text for text in (options.url, *(options.compare or ())) if text is not None]
    for what, texts in (("URL", urls), ("--model", options.model), ("--shape", options.shape)):
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise SettingsError(f"{what} {text!r}: should be UTF-8") from error


def _timeout_s(options: argparse.Namespace) -> float:
    """How long to wait where nobody said: in a search hardly longer than can matter."""
    if options.find_max and options.slo_ms is not None:
        return max(1.0, 4 * float(options.slo_ms) / _MS)
    return _TIMEOUT_S


def _check_servers(options: argparse.Namespace) -> None:
    if options.compare and options.url is not None:
        raise SettingsError("--compare names both servers: give no other URL")
    if not options.compare and options.url is None:
        raise SettingsError("give the server's URL, as in: headrace load localhost:8000")
    if options.compare and options.find_max:
        raise SettingsError("--compare or --find-max, not both")
    if options.compare and options.warm_up_s is not None:
        raise SettingsError("--compare leaves out the start of each slice itself: no --warm-up-s")
    if len(options.model) > (2 if options.compare else 1):
        raise SettingsError("--model once, or twice with --compare")


def _check(options: argparse.Namespace) -> None:
    _check_servers(options)
    traced = options.arrivals.startswith(_TRACE)
    if options.find_max and options.slo_ms is None:
        raise SettingsError("--find-max needs an objective: --slo-ms")
    if options.rate is not None and options.concurrency is not None:
        raise SettingsError("--rate (open loop) or --concurrency (closed loop), not both")
    if options.rate is None and options.concurrency is None and not (traced or options.find_max):
        raise SettingsError(
            "give --rate (open loop), --concurrency (closed loop), or --find-max with --slo-ms"
        )
    if options.concurrency is not None and traced:
        raise SettingsError("--concurrency sends when answers come: a trace is for an open loop")
    if not traced and options.arrivals not in _ARRIVALS:
        raise SettingsError(
            f"--arrivals {options.arrivals}: should be {', '.join(_ARRIVALS)} or {_TRACE}FILE"
        )
    _check_numbers(options)
    if options.concurrency is not None and options.concurrency < options.senders:
        raise SettingsError("--concurrency should be at least as many as --senders")


def _check_numbers(options: argparse.Namespace) -> None:
    for name in ("rate", "concurrency", "duration_s", "senders", "connections", "timeout_s",
                 "batch", "slo_ms", "lag_limit_ms"):  # fmt: skip
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise SettingsError(f"--{name.replace('_', '-')} {value:g}: should be more than 0")
    if options.warm_up_s is not None and not 0 <= options.warm_up_s < math.inf:
        raise SettingsError(f"--warm-up-s {options.warm_up_s:g}: should be 0 or more seconds")
    if options.seed < 0:
        raise SettingsError(f"--seed {options.seed}: should be 0 or more")


_ARRIVALS = ("poisson", "constant", "bursts")


def _plan(wanted: Wanted) -> Plan:
    duration_s = wanted.duration_s or _DURATION_S
    if wanted.concurrency is not None:
        return ClosedLoop(wanted.concurrency, duration_s)
    return OpenLoop(arrivals(wanted, wanted.rate))


def is_traced(wanted: Wanted) -> bool:
    """Whether the arrivals are a recording."""
    return wanted.arrivals.startswith(_TRACE)


def arrivals(
    wanted: Wanted, rate: float | None, duration_s: float | None = None, part: int = 0
) -> Arrivals:
    """Plan the arrivals of an open loop at a rate (None: as the trace has it).

    With ``duration_s`` they last so long: a shorter trace begins again, and ``part`` says which
    piece of it that is.

    Raises:
        ValueError: there are none with these numbers.
        SettingsError: the trace cannot be read, or there are more than can be planned.
    """
    if is_traced(wanted):
        recorded = _recorded(wanted)
        if duration_s is None:
            return _replayed(recorded, rate, wanted.duration_s)
        whole = _replayed(recorded, rate, None)
        _check_count(whole.rate, duration_s)
        return _repeated(whole, part * duration_s, duration_s)
    duration_s = duration_s or wanted.duration_s or _DURATION_S
    if rate is None:
        raise SettingsError("give --rate")
    _check_count(rate, duration_s)
    if wanted.arrivals == "constant":
        return constant(rate, duration_s)
    made = bursts if wanted.arrivals == "bursts" else poisson
    return made(rate, duration_s, wanted.seed)


def arrivals_of_try(wanted: Wanted, rate: float, duration_s: float) -> Arrivals:
    """Plan the arrivals of one try of a rate.

    Of a trace that is longer they are its beginning at that rate: in the whole at that rate the
    beginning may have quite another.

    Raises:
        ValueError: there are none with these numbers.
        SettingsError: the trace cannot be read, or there are more than can be planned.
    """
    if not is_traced(wanted):
        return arrivals(wanted, rate, duration_s)
    _check_count(rate, duration_s)
    beginning = sorted(_recorded(wanted))[: math.ceil(rate * duration_s)]
    return _repeated(_replayed(beginning, rate, None), 0.0, duration_s)


def _check_count(rate: float, duration_s: float) -> None:
    count = rate * duration_s
    if count > _MOST_REQUESTS:
        raise SettingsError(
            f"{rate:,.4g} requests/s for {duration_s:,.4g} s are {count:,.4g} requests, and at "
            f"most {_MOST_REQUESTS:,} are planned: lower --rate, or --duration-s"
        )


def _recorded(wanted: Wanted) -> Sequence[float]:
    """Read a file of times, one a line; what follows a comma is not looked at."""
    path = Path(wanted.arrivals.removeprefix(_TRACE))
    try:
        lines = path.read_text("utf-8").splitlines()
        times_s = [float(line.partition(",")[0]) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"--arrivals trace:{path} cannot be read: {error}; it should have a send time in "
            "seconds on each line"
        ) from error
    if not times_s:
        raise SettingsError(f"--arrivals trace:{path} has no send times")
    return times_s


def _replayed(recorded: Sequence[float], rate: float | None, duration_s: float | None) -> Arrivals:
    """Plan what was recorded, from its first request on, at another mean rate if one is given."""
    times_s = np.sort(np.array(recorded, np.float64))
    times_s -= times_s[0]
    # The last request ends its own gap: as long as the others are on average.
    length_s = float(times_s[-1]) * len(times_s) / max(len(times_s) - 1, 1) or 1.0
    if rate is not None:
        stretch = len(times_s) / (rate * length_s)
        times_s, length_s = times_s * stretch, length_s * stretch
    if duration_s is not None and duration_s < length_s:
        return Arrivals(times_s[times_s < duration_s], duration_s)
    return Arrivals(times_s, length_s)


def _repeated(whole: Arrivals, first_s: float, duration_s: float) -> Arrivals:
    """Plan so many seconds of a recording from a place in it on; where it ends it begins again."""
    first_s %= whole.duration_s
    rounds = math.ceil((first_s + duration_s) / whole.duration_s)
    starts_s = np.arange(rounds) * whole.duration_s - first_s
    times_s = (starts_s[:, np.newaxis] + whole.times_s).ravel()
    return Arrivals(times_s[(times_s >= 0) & (times_s < duration_s)], duration_s)


def _shape(text: str) -> tuple[str, Shape]:
    name, equals, rest = text.rpartition("=")  # a name may have one too
    kind, colon, sizes = rest.rpartition(":")
    try:
        read_sizes = tuple(int(size) for size in sizes.split(",") if size)
        dtype = DType(kind) if colon else None
    except ValueError:
        name = ""
    if not (name and equals) or min(read_sizes, default=0) < 0:
        raise SettingsError(f"--shape {text}: should be as ids=1,128 or ids=INT64:1,128")
    return name, Shape(read_sizes, dtype)


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals) or not (name + value).isascii() or not (name + value).isprintable():
        raise SettingsError("--header should be NAME=VALUE, of printable ASCII")
    return name.strip().lower(), value.strip()
