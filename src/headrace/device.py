"""What runs a model: the cores of this machine, or one of its GPUs; a value of settings."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

CPU = "cpu"
_CUDA = re.compile(r"cuda(?::(0|[1-9]\d{0,2}))?")


def _checked(text: str) -> str:
    """A device by its one name: ``cuda`` is ``cuda:0``.

    Raises:
        ValueError: it is none.
    """
    name = text.strip().lower()
    if name == CPU:
        return name
    found = _CUDA.fullmatch(name)
    if found is None:
        raise ValueError("should be cpu, cuda, or cuda:1 for the second GPU")
    return f"cuda:{found[1] or 0}"


Device = Annotated[str, AfterValidator(_checked)]
"""``cpu``, or ``cuda:`` and the number of a GPU."""


def gpu_index(device: str) -> int | None:
    """Which GPU it is; None: it is none."""
    return None if device == CPU else int(device.partition(":")[2])
