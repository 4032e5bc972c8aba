"""``GET /models``: every version, where it is in its life, and what it costs.

``GET /models/{model}/profile``: what was measured of one, for whoever plans with it.
``PATCH /models/{model}/labels`` takes a JSON merge patch (RFC 7396): ``{"stable": 2, "canary":
null}`` moves one label, removes another, and leaves the rest.
"""

from __future__ import annotations

import json
import time
from typing import Any

from headrace.cores import usable_cores
from headrace.engine_control import Profile
from headrace.errors import InvalidInput, MalformedRequest, NotReady, NotResident
from headrace.observe.runs import Recent
from headrace.observe.together import Topic
from headrace.order import Label
from headrace.receiver.catalog import Entry, ServedModel
from headrace.receiver.codecs.json_tensor import parse
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.http import json_reply
from headrace.topology import listed

# Of one order; a model of more labels than people can keep apart is a mistake.
_MOST_LABELS = 100
_LONGEST_LABEL = 200
_LARGEST_VERSION = 2**63 - 1
# Runs are told of versions that ran so lately: one who plans asks more often, and of many models
# that rest thousands of runs would be told for nothing.
_LATELY_S = 60.0
# What is worth asking where it comes from.
_TUNABLE = (
    "backend", "precision", "f32_layers", "instances", "threads", "max_batch", "linger_ms",
    "slo_ms",
)  # fmt: skip


class Models:
    """Lists the models, and moves their labels."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def index(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /models``."""
        return json_reply({"models": [described(one) for one in self._core.catalog.entries()]})

    async def profile(self, exchange: Exchange, name: str, version: int | None) -> Reply:  # noqa: ARG002
        """``GET /models/{name}[/versions/{version}]/profile``.

        Raises:
            NotReady: it is not in memory; who watches a model must not have it loaded.
            HeadraceError: the model or version is unknown or does not serve.
        """
        try:
            served = self._core.catalog.find(name, version)
        except NotResident as absent:
            raise NotReady(
                f"{absent.message}, and to ask for its profile does not load it: send it a request "
                "first"
            ) from absent
        counted = json.loads(await self._core.together(Topic.SEEN))
        ran = counted.get(which(served)) or seen(served)
        runs = json.loads(await self._core.together(Topic.RECENT)).get(which(served))
        recent = {"now_s": time.monotonic(), "recent": runs or Recent().columns()}
        found = measured(served, {**ran, **recent})
        return json_reply({**found, "receivers": self._core.receivers})

    async def label(self, exchange: Exchange, name: str, _: None) -> Reply:
        """``PATCH /models/{name}/labels``."""
        await self._core.command(Label(name=name, versions=read_labels(exchange.body)), {})
        return json_reply({"labels": self._core.catalog.labels(name)})


def described(entry: Entry) -> dict[str, Any]:
    """One version, for JSON."""
    state, served = entry.state, entry.served
    found: dict[str, Any] = {
        "name": state.name,
        "version": state.version,
        "state": state.state,
        "reason": state.reason,
        "since_unix_s": state.since_unix_s,
        "labels": list(entry.labels),
        "memory_bytes": entry.memory_bytes,
    }
    if served is not None:
        profile = served.profile
        found |= {
            "backend": profile.backend,
            "device": profile.device,
            "precision": profile.precision,
            "instances": profile.instances,
            "threads": profile.threads,
            "cores": [listed(cores) for cores in profile.cores] or None,
            "max_batch": max(profile.batch_sizes, default=1),
            "load_s": load_parts(profile),
            "cached": profile.cached,
            "tuned": served.tuned and served.tuned.model_dump(mode="json", exclude={"file"}),
        }
    return found


def measured(served: ServedModel, counted: dict[str, Any]) -> dict[str, Any]:
    """What warm-up measured of a version, what was set, and what was counted, for JSON."""
    profile, settings = served.profile, served.settings
    return {
        "name": served.name,
        "version": served.version,
        "edition": served.edition,
        "backend": profile.backend,
        "device": profile.device,
        "precision": profile.precision,
        "cores": usable_cores(),
        "instances": profile.instances,
        "threads": profile.threads,
        "batch_sizes": list(profile.batch_sizes),
        "pads": profile.pads,
        "measurements": [one.model_dump() for one in profile.measurements],
        "slo_ms": settings.slo_ms,
        "max_queue": settings.max_queue,
        "linger_ms": settings.linger_ms,
        "f32_layers": settings.f32_layers,
        "origins": {key: served.origins.get(key, "default") for key in _TUNABLE},
        "control": served.metrics.control(),
        "seen": counted,
    }


def which(served: ServedModel) -> str:
    """What a version is called among those that were counted."""
    return f"{served.name}/{served.version}"


def seen(served: ServedModel) -> dict[str, Any]:
    """What has run of a version so far, for whoever asks twice and takes the difference.

    ``cpu_s`` is what the receiver has used, for all models.
    """
    metrics = served.metrics
    ran = [(rows, tally) for rows, tally in sorted(metrics.runs.sizes.items()) if tally.ended]
    return {
        "cpu_s": time.process_time(),
        "answered": metrics.outcomes["ok"],
        "tail_ratio": metrics.gauges["run_tail_ratio"](),
        "handover_s": metrics.gauges["handover_seconds"](),
        "runs": [
            {"rows": rows, "count": tally.ended, "infer_s": tally.infer_s} for rows, tally in ran
        ],
    }


def lately(served: ServedModel) -> dict[str, Any] | None:
    """The last batches of this receiver, for whoever wants to see how unlike runs are.

    Times are those of a clock that all receivers share. None: it is long since there was one.
    """
    runs = served.metrics.runs
    if runs.last_s is None or time.monotonic() - runs.last_s > _LATELY_S:
        return None
    return runs.recent.columns()


def load_parts(profile: Profile) -> dict[str, float]:
    """How long each part of a load took, in seconds."""
    return {"start": profile.start_s, "load": profile.load_s, "warm": profile.warm_s}


def read_labels(body: bytes | memoryview) -> dict[str, int | None]:
    """Read a merge patch of labels.

    Raises:
        MalformedRequest: it is no JSON object.
        InvalidInput: a label or a version is not as it should be.
    """
    said = parse(body)
    if len(said) > _MOST_LABELS:
        raise InvalidInput(f"at most {_MOST_LABELS} labels at once")
    for label, version in said.items():
        if not label or len(label) > _LONGEST_LABEL:
            raise InvalidInput(f"a label should have 1 to {_LONGEST_LABEL} letters")
        if version is not None and not (type(version) is int and 0 <= version <= _LARGEST_VERSION):
            raise InvalidInput(
                f"label {label!r} should be the number of a version, or null to remove it"
            )
    if not said:
        raise MalformedRequest('the body names no label: it should be as {"stable": 2}')
    return said
