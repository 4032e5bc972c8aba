"""The tuned card: its values, where it lies, and how it is read and written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from headrace.documents import read as read_document
from headrace.errors import SettingsError
from headrace.fingerprint import Fingerprint
from headrace.group import Group
from headrace.problems import explain
from headrace.settings import BackendName, BatchSize, Count, Layers, Linger, Precision, Size
from headrace.weights import has_own_folder

FILE_NAME = "tuned.yaml"
"""What it is called beside a version; of a single file, ``NAME.tuned.yaml``."""

SCHEMA_VERSION = 1
"""Another is for another version of this program to read."""

_HEAD = """\
# Written by Headrace: settings found for this model on this machine, within the objective below.
# `headrace serve` takes them where nothing else is said; on another machine, or for another model,
# it leaves them aside and says so. Delete the file to serve without.
"""

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]


class TunedSettings(Group):
    """The settings that were found, by their keys in a model's settings."""

    backend: BackendName
    precision: Precision
    instances: Count
    threads: Count
    max_batch: BatchSize
    linger_ms: Linger = 0.0
    f32_layers: Layers = 0


class Objective(Group):
    """What they were tuned for: this quantile of the latencies within that time."""

    slo_ms: Annotated[float, Field(gt=0)]
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99


class Evidence(Group):
    """What was measured of them.

    ``highest_rate_rps`` met the objective under real load, with ``p99_s``; where that is None no
    rate did, and it is what was answered in time of more than was held. ``forecast_rate_rps`` is
    what had been predicted, ``baseline_rate_rps`` what the untuned settings reached in the same
    race, ``memory_bytes`` what the engine took. ``made_at`` is a time as in ISO 8601.
    """

    highest_rate_rps: Amount
    p99_s: Amount | None = None
    forecast_rate_rps: Amount | None = None
    baseline_rate_rps: Amount | None = None
    memory_bytes: Annotated[int, Field(ge=0)] | None = None
    made_at: str = ""


class Accuracy(Group):
    """How near the answers are to those of 32-bit arithmetic.

    ``metric`` is what was decided by, ``max_drop`` what was allowed of it: of ``drop_bound`` with
    labels, of ``1 - top1_agreement`` without. ``drop`` is how much less often the best class was
    the label, and ``drop_bound`` what it is at most, 95 times in 100. ``cosine``, ``kl`` (in nats)
    and ``relative_l2`` are of the output that is off most.
    """

    metric: str
    samples: Size
    labelled: bool
    top1_agreement: Share | None = None
    cosine: Annotated[float, Field(ge=-1, le=1)]
    kl: Amount | None = None
    relative_l2: Amount | None = None
    drop: Annotated[float, Field(ge=-1, le=1)] | None = None
    drop_bound: Annotated[float, Field(ge=-1, le=1)] | None = None
    max_drop: Share | None = None


class Tuned(Group):
    """A tuned card."""

    schema_version: int = SCHEMA_VERSION
    model_digest: str
    fingerprint: Fingerprint
    settings: TunedSettings
    objective: Objective
    evidence: Evidence
    accuracy: Accuracy | None = None


def place(model_path: Path) -> Path:
    """Where the tuned card of a model file lies: in its version's folder, or beside the file."""
    if has_own_folder(model_path):
        return model_path.with_name(FILE_NAME)
    return model_path.with_name(f"{model_path.stem}.{FILE_NAME}")


def is_tuned_card(file: Path) -> bool:
    """Whether a file is one, by its name."""
    return file.name == FILE_NAME or file.name.endswith(f".{FILE_NAME}")


def read(path: Path) -> Tuned:
    """Read a tuned card.

    Raises:
        SettingsError: it cannot be read, or is not as it should be; with its file and line.
    """
    document = read_document(path)
    version = document.data.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise SettingsError(
            f"{path}: is of schema version {version}, and this version of Headrace reads "
            f"{SCHEMA_VERSION}: tune anew"
        )
    try:
        return Tuned.model_validate(document.data)
    except ValidationError as error:
        problems = explain(error, Tuned, document.data, document.origins)
        raise SettingsError("\n".join(problems)) from error


def write(path: Path, tuned: Tuned) -> None:
    """Write a tuned card, whole or not at all, for a server may look at it now.

    Raises:
        SettingsError: nothing can be written there.
    """
    said: dict[str, Any] = tuned.model_dump(mode="json")
    text = _HEAD + yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)  # it is no secret, and another user may serve
        Path(temporary).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink(missing_ok=True)
        raise SettingsError(f"{path}: cannot be written: {error.strerror or error}") from error
