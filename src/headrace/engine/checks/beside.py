"""The files of weights beside a model: each is where the model is, and holds what is claimed of it.

A link may lead to where the model file itself really lies, as in a cache of Hugging Face or a
mounted volume of Kubernetes; not elsewhere, or a model could read any file and give it away in its
answers.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from headrace.engine.checks.kind import HEAD_BYTES, mistaken
from headrace.errors import ModelLoadError

# ONNX Runtime takes the offset for an address in its own memory where a file is called so.
_MEMORY = "_ORT_MEM_ADDR_"


class Claim(NamedTuple):
    """What a model says of a file beside it: these weights are there."""

    weights: str
    location: str
    offset: int
    size_bytes: int


def check(model: Path, claims: Iterable[Claim]) -> None:
    """Check what a model says of the files beside it.

    Raises:
        ModelLoadError: one leads outside, is missing, or is shorter than it should be.
    """
    sizes: dict[str, int] = {}
    for claim in claims:
        if claim.location not in sizes:
            sizes[claim.location] = _size_bytes(model, claim)
        there, end = sizes[claim.location], claim.offset + claim.size_bytes
        if end > there:
            raise ModelLoadError(
                f"has weights {claim.weights!r} up to byte {end} of {claim.location!r}, which has "
                f"{there} bytes: {_why_short(model.parent / claim.location)}"
            )


def _size_bytes(model: Path, claim: Claim) -> int:
    """The size of the file that a claim is about."""
    said = f"has weights {claim.weights!r} in the file {claim.location!r}"
    place = PurePosixPath(claim.location)
    if not claim.location or "\0" in claim.location or _MEMORY in place.parts:
        raise ModelLoadError(f"{said}, which is no file")
    if place.is_absolute() or ".." in place.parts:
        raise ModelLoadError(f"{said}, outside the folder of the model: save it with its weights")
    file = model.parent / claim.location
    try:
        real = file.resolve()
        status = file.stat()
    except FileNotFoundError as error:
        raise ModelLoadError(f"{said}, which is missing: it belongs beside the model") from error
    except (OSError, RuntimeError) as error:  # a ring of links is one or the other
        raise ModelLoadError(f"{said}, which cannot be read: {error}") from error
    if leads_outside(model, real):
        raise ModelLoadError(f"{said}, a link that leads outside the folder of the model")
    if not stat.S_ISREG(status.st_mode):
        raise ModelLoadError(f"{said}, which is not a regular file")
    return status.st_size


def leads_outside(model: Path, real: Path) -> bool:
    """Whether a file, its links followed, is not one of the model's own."""
    homes = (model.parent.resolve(), model.resolve().parent)
    return not any(real.is_relative_to(home) for home in homes)


def _why_short(file: Path) -> str:
    with file.open("rb") as opened:
        return f"it {mistaken(opened.read(HEAD_BYTES), file.suffix) or 'was not copied whole'}"
