"""What a server measured of a model, as a plan needs it: asked of the server, or read of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from headrace.device import CPU
from headrace.errors import MalformedAnswer, SettingsError
from headrace.plan.calibration import Calibration
from headrace.plan.seen import Seen
from headrace.problems import explain
from headrace.scheduler.known import Known


class _Value(BaseModel):
    """Frozen; what a newer server says besides is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Measured(_Value):
    """How long ``rows`` rows of ``elements`` input elements took, on an instance that was alone."""

    elements: Annotated[int, Field(ge=0)]
    rows: PositiveInt
    median_s: PositiveFloat
    p95_s: PositiveFloat


class Control(_Value):
    """How a server steers a version: ``kept_lanes`` take batches, unless others are just tried."""

    kept_lanes: PositiveInt | None = None


class ModelProfile(_Value):
    """One version as its server measured it, and what was set.

    ``cores`` and ``receivers`` are the server's.

    ``control`` is how it is steered, ``seen`` what has run so far, ``calibration`` what
    ``--measure`` found out.
    """

    name: str
    version: int
    backend: str
    device: str = CPU
    precision: str
    cores: PositiveInt
    receivers: PositiveInt = 1
    instances: PositiveInt
    threads: PositiveInt
    batch_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    pads: bool
    measurements: tuple[Measured, ...]
    slo_ms: PositiveFloat | None
    max_queue: PositiveInt
    linger_ms: NonNegativeFloat = 0.0
    control: Control = Control()
    seen: Seen | None = None
    calibration: Calibration | None = None

    @property
    def shapes(self) -> tuple[int, ...]:
        """The elements of a row at which it was measured, ascending."""
        return tuple(sorted({one.elements for one in self.measurements}))

    def known(self, *, instances: int, slo_s: float | None) -> Known:
        """What its scheduler would be made of, with so many instances and this objective."""
        points = [(m.elements, m.rows, m.median_s, m.p95_s) for m in self.measurements]
        return Known(
            tuple(points),
            sizes=self.batch_sizes,
            pads=self.pads,
            instances=instances,
            slo_s=slo_s,
            max_queue=self.max_queue,
            linger_s=self.linger_ms / 1e3,
        )


def read_answer(said: Any, url: str) -> ModelProfile:
    """Read what a server says.

    Raises:
        MalformedAnswer: it says something else.
        SettingsError: it measured nothing.
    """
    try:
        profile = ModelProfile.model_validate(said)
    except ValidationError as error:
        raise MalformedAnswer(
            f"{url} does not answer with a profile as this version of Headrace does: "
            f"{_first(error, said)}"
        ) from error
    return _measured(profile)


def read_file(path: Path) -> ModelProfile:
    """Read a file that ``--save`` has written.

    Raises:
        SettingsError: it cannot be read, or is no profile.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        profile = ModelProfile.model_validate(said)
    except OSError as error:
        raise SettingsError(f"--profile {path}: {error.strerror or error}") from error
    except ValidationError as error:
        raise SettingsError(f"--profile {path} is no profile: {_first(error, said)}") from error
    except ValueError as error:  # no UTF-8, no JSON
        raise SettingsError(f"--profile {path} is no JSON: {error}") from error
    return _measured(profile)


def save(profile: ModelProfile, path: Path) -> None:
    """Write it where ``read_file`` finds it.

    Raises:
        SettingsError: nothing can be written there.
    """
    try:
        text = profile.model_dump_json(indent=2, exclude={"seen", "control"})
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--save {path}: {error.strerror or error}") from error


def with_calibration(profile: ModelProfile, found: Calibration) -> ModelProfile:
    """The profile with what was found in it, for later plans."""
    return profile.model_copy(update={"calibration": found})


def _measured(profile: ModelProfile) -> ModelProfile:
    if profile.device != CPU:
        raise SettingsError(
            f"model {profile.name!r} runs on {profile.device}: plans reckon with cores so far, and "
            "know no GPUs"
        )
    if not profile.measurements:
        raise SettingsError(
            f"model {profile.name!r} started cold, so there are no run times to plan with: name "
            "shapes under warm_shapes in its card, or buckets"
        )
    return profile


def _first(error: ValidationError, said: Any) -> str:
    return explain(error, ModelProfile, said, {})[0]
