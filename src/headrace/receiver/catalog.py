"""What the receiver knows of the models: which versions there are, and which of them serve."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from headrace.control import ModelState, TunedUse
from headrace.engine_control import Profile
from headrace.errors import (
    InvalidArgument,
    ModelFailed,
    ModelNotFound,
    NotReady,
    NotResident,
    VersionNotFound,
)
from headrace.formats.saved_model import DEFAULT
from headrace.media import Medium
from headrace.observe.metrics import ModelMetrics
from headrace.observe.tfserving import ApiMetrics
from headrace.receiver.bell import Bell
from headrace.settings import ModelSettings
from headrace.values import Signature

_ENDED = frozenset({"failed", "unloaded"})
# Of a version that has been listed: a request for it waits until it serves.
_COMING = frozenset({"listed", "loading", "warming", "evicting"})
# Of those it is worth waiting for one.
_ON_ITS_WAY = frozenset({"found", "loading", "warming", "recovering"})
# So many are named to who asks for one that there is not.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version that serves.

    ``signature`` is what clients see, after the result processor; that in ``profile`` is the
    model's own. ``media`` are the files it takes besides tensors, ``origins`` which layer said
    which setting, ``tuned`` what was taken of a tuned card, ``edition`` tells of which files it is.
    """

    name: str
    version: int
    signature: Signature
    settings: ModelSettings
    labels: tuple[str, ...]
    profile: Profile
    metrics: ModelMetrics
    media: tuple[Medium, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    tuned: TunedUse | None = None
    edition: str = ""

    @property
    def signature_name(self) -> str:
        """What TensorFlow Serving's clients call its signature."""
        return self.settings.signature_name or self.profile.signature_name or DEFAULT


class Entry(NamedTuple):
    """One version: its state, what serves of it, its labels, and the memory of its engine."""

    state: ModelState
    served: ServedModel | None
    labels: tuple[str, ...]
    measured_bytes: int | None

    @property
    def memory_bytes(self) -> int | None:
        """As last measured, or as it was when it was ready; None when it does not serve."""
        if self.served is None:
            return None
        return self.measured_bytes or self.served.profile.memory_bytes


@dataclass(slots=True)
class Catalog:
    """Names → versions → their state, and the served model where there is one.

    ``draining`` turns readiness off; serving goes on. ``bell`` rings when any of it changes.
    ``was_ready``: the receiver before this one was, so that only what served then is awaited.
    ``awaited``: some models may not be known yet, so that the server is not ready.
    ``moves`` counts how often a version of a model came to a state, and ``asked`` is what
    TensorFlow Serving's APIs asked of each model; both outlive its versions, since counters never
    fall.
    """

    default_model: str | None = None
    draining: bool = False
    configured: bool = False
    was_ready: bool = False
    awaited: bool = False
    bell: Bell = field(default_factory=Bell)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: defaultdict[str, ApiMetrics] = field(default_factory=lambda: defaultdict(ApiMetrics))
    _states: dict[str, dict[int, ModelState]] = field(default_factory=dict)
    _served: dict[str, dict[int, ServedModel]] = field(default_factory=dict)
    _newest: dict[str, ServedModel] = field(default_factory=dict)
    _labels: dict[str, dict[str, int]] = field(default_factory=dict)
    _memory_bytes: dict[tuple[str, int], int] = field(default_factory=dict)
    _answered: set[tuple[str, int]] = field(default_factory=set)
    """Versions that have served since they came."""
    _been_ready: bool = False

    def names(self) -> list[str]:
        """Every model name known, in order of appearance."""
        return list(self._states)

    def states(self, name: str) -> list[ModelState]:
        """The state of every version of a model, newest first.

        Raises:
            ModelNotFound: no model of that name.
        """
        if name not in self._states:
            raise ModelNotFound(self._unknown(name))
        return [state for _, state in sorted(self._states[name].items(), reverse=True)]

    def find(self, name: str, version: int | None = None) -> ServedModel:
        """Return the version asked for, or the newest that serves or is on demand.

        Raises:
            ModelNotFound: no model of that name.
            VersionNotFound: the model has no such version.
            NotReady: it is still loading.
            NotResident: it is on demand, and not in memory now.
            ModelFailed: it failed.
        """
        if version is None:
            served = self._newest.get(name)
        else:
            served = self._served.get(name, {}).get(version)
        if served is None:
            self._refuse(name, version)
            raise NotReady(
                f"model {name!r} is not ready{self._whereabouts(name, version)}", retry_after_s=1.0
            )
        return served

    def version_of(self, name: str, label: str) -> int:
        """Return the version that a label of a model stands for.

        Raises:
            ModelNotFound: no model of that name.
            InvalidArgument: the model has no such label.
        """
        version = self._labels.get(name, {}).get(label)
        if version is None:
            if name not in self._states:
                raise ModelNotFound(self._unknown(name))
            raise InvalidArgument(f"Unrecognized servable version label: {label}")
        return version

    def default(self) -> str:
        """Return the model that ``POST /predict`` means.

        Raises:
            ModelNotFound: there are several and none is the default.
        """
        if self.default_model is not None:
            return self.default_model
        if len(self._states) == 1:
            return next(iter(self._states))
        raise ModelNotFound(
            "there is no default model: use /predict/<model> or set server.default_model; "
            f"models: {self._named()}"
        )

    def ready(self, name: str | None = None, version: int | None = None) -> bool:
        """Whether the server (no name given), a model or a version answers requests now.

        What is on demand does, though not at once: whoever asks first for this would never ask it
        for more.

        A server that has been ready stays so, while it replaces a dead engine and while it loads
        another version: what it served before answers. Not when all that answered has failed since,
        and nothing else answers.
        """
        if self.draining or not self.configured:
            return False
        if name is not None:
            versions = self._states.get(name, {})
            asked = versions.values() if version is None else [versions.get(version)]
            return any(one is not None and self.answers(one) for one in asked)
        return not self._has_fallen() and (self._been_ready or self._settled())

    def answers(self, state: ModelState) -> bool:
        """Whether a version in this state answers requests, at once or when it has been loaded."""
        return _is_coming(state) or (state.state == "serving" and self._is_served(state))

    def _has_fallen(self) -> bool:
        states = [state for versions in self._states.values() for state in versions.values()]
        answered = [one for one in states if (one.name, one.version) in self._answered]
        return any(one.state == "failed" for one in answered) and not any(
            self.answers(one) or (one.state == "recovering" and one in answered) for one in states
        )

    def _settled(self) -> bool:
        """Whether nothing is awaited any more; not when all there is has failed."""
        if self.awaited:
            return False
        states = [state for versions in self._states.values() for state in versions.values()]
        if not any(self._served.values()) and any(state.state == "failed" for state in states):
            return False
        return all(self._is_settled(state) for state in states)

    def _is_settled(self, state: ModelState) -> bool:
        if state.state in _ENDED or state.on_demand or self._is_served(state):
            return True
        return self.was_ready and state.state != "serving"

    def _is_served(self, state: ModelState) -> bool:
        return state.version in self._served.get(state.name, {})

    def served(self) -> Iterable[ServedModel]:
        """Every version that serves."""
        return [model for versions in self._served.values() for model in versions.values()]

    def set_state(self, state: ModelState) -> None:
        """Note where a version is in its life."""
        versions = self._states.setdefault(state.name, {})
        before = versions.get(state.version)
        if before is None or before.state != state.state:
            self.moves[state.name, state.state] += 1
        elif not state.since_unix_s:  # it has been told already, with that
            state = state.model_copy(update={"since_unix_s": before.since_unix_s})
        versions[state.version] = state
        if state.state == "serving":
            self._answered.add((state.name, state.version))
        elif state.state == "unloaded":
            self._answered.discard((state.name, state.version))
        self._look()
        self._renew(state.name)
        self.bell.ring()

    def forget(self, name: str, version: int) -> None:
        """A version that had ended is no more, and with the last one the model and its labels."""
        versions = self._states.get(name, {})
        versions.pop(version, None)
        self._memory_bytes.pop((name, version), None)
        self._answered.discard((name, version))
        if not versions:
            self._states.pop(name, None)
            self._labels.pop(name, None)
        self._renew(name)
        self.bell.ring()

    def _look(self) -> None:
        self._been_ready = self._been_ready or (self.configured and self._settled())

    def complete(self) -> None:
        """Every model that was to be found is known now."""
        self.awaited = False
        self._look()
        self.bell.ring()

    def drain(self) -> None:
        """The server ends: not ready from now on."""
        self.draining = True
        self.bell.ring()

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Let these labels, and no others, stand for versions of a model."""
        self._labels[name] = dict(labels)

    def labels(self, name: str) -> dict[str, int]:
        """Which labels of a model stand for which versions."""
        return dict(self._labels.get(name, {}))

    def set_memory(self, name: str, version: int, size_bytes: int) -> None:
        """Note what the engine of a version has in memory now."""
        self._memory_bytes[name, version] = size_bytes

    def entries(self) -> list[Entry]:
        """Every version, whatever its state, by name and version."""
        return [
            Entry(
                state,
                self._served.get(name, {}).get(version),
                tuple(sorted(k for k, v in self._labels.get(name, {}).items() if v == version)),
                self._memory_bytes.get((name, version)),
            )
            for name, versions in sorted(self._states.items())
            for version, state in sorted(versions.items())
        ]

    def add(self, model: ServedModel) -> None:
        """Let a version serve."""
        self._served.setdefault(model.name, {})[model.version] = model
        self._look()
        self._renew(model.name)

    def remove(self, name: str, version: int) -> None:
        """Stop a version from taking new requests."""
        self._served.get(name, {}).pop(version, None)
        self._renew(name)

    def _renew(self, name: str) -> None:
        """Note which version answers those who name none; nobody, while that is on its way."""
        versions = self._served.get(name, {})
        newest = self._newest_on_the_way(name)
        if versions and (newest is None or newest < max(versions)):
            self._newest[name] = versions[max(versions)]
        else:
            self._newest.pop(name, None)

    def _newest_on_the_way(self, name: str) -> int | None:
        states = self._states.get(name, {}).values()
        served = self._served.get(name, {})
        return max(
            (one.version for one in states if _is_coming(one) and one.version not in served),
            default=None,
        )

    def _refuse(self, name: str, version: int | None) -> None:
        versions = self._states.get(name)
        if versions is None:
            raise ModelNotFound(self._unknown(name))
        if version is not None and version not in versions:
            raise VersionNotFound(
                f"model {name!r} has no version {version}; versions: "
                f"{', '.join(str(number) for number in sorted(versions))}"
            )
        self._refuse_absent(name, self._newest_on_the_way(name) if version is None else version)
        asked = [versions[version]] if version is not None else list(versions.values())
        if all(state.state in {"draining", "unloaded"} for state in asked):
            raise ModelNotFound(f"model {name!r} is not loaded: it has been unloaded")
        if all(state.state == "failed" for state in asked):
            raise ModelFailed(f"model {name!r} failed: {asked[-1].reason}")

    def _whereabouts(self, name: str, version: int | None) -> str:
        """What the newest of those asked for that may serve is at, and for how long, if noted."""
        asked = (one for one in self.states(name) if version in {None, one.version})
        state = next((one for one in asked if one.state in _ON_ITS_WAY), None)
        if state is None or not state.since_unix_s:
            return ""
        return f": {state.state} for {max(0.0, time.time() - state.since_unix_s):.0f} s"

    def _refuse_absent(self, name: str, version: int | None) -> None:
        if version is not None and _is_coming(self._states[name][version]):
            raise NotResident(
                f"model {name!r} version {version} is not in memory", key=(name, version)
            )

    def _unknown(self, name: str) -> str:
        return f"unknown model {name!r}; models: {self._named()}"

    def _named(self) -> str:
        """The models, of many the first: this is told to whoever makes up a name."""
        named = ", ".join(islice(self._states, _NAMED))
        more = len(self._states) - _NAMED
        return f"{named} and {more} more" if more > 0 else named or "none"


def _is_coming(state: ModelState) -> bool:
    return state.on_demand and state.state in _COMING
