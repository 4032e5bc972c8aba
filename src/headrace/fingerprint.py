"""What measurements of a model depend on besides the model: the processor and the libraries."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from headrace.cores import usable_cores
from headrace.group import Group

LIBRARIES = ("openvino", "onnxruntime", "torch")
"""What can run models, as pip calls it."""

# The same library with more in it, as pip calls that.
_ALSO = {"onnxruntime": "onnxruntime-gpu"}

# What decides which kernels a library takes; a processor lists a hundred others.
_FEATURES = (
    *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni"),
    *("avx512_bf16", "avx512_fp16", "avx_ne_convert", "amx_tile", "amx_bf16", "amx_int8"),
    *("amx_fp16", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "sme"),
)
_CPUINFO = Path("/proc/cpuinfo")


class Fingerprint(Group):
    """One machine, as far as run times depend on it.

    ``memory_bytes`` is told, and not compared: a container's limit may change and the times not.
    """

    processor: str
    cores: Annotated[int, Field(ge=1)]
    features: tuple[str, ...]
    memory_bytes: Annotated[int, Field(ge=0)]
    libraries: dict[str, str]


@cache
def fingerprint() -> Fingerprint:
    """Look at this machine, once: none of it changes while we run."""
    try:
        said = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    return Fingerprint(
        processor=processor(said),
        cores=usable_cores(),
        features=features(said),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        libraries={name: found for name in LIBRARIES if (found := _version(name)) is not None},
    )


def differs(was: Fingerprint, now: Fingerprint) -> list[str]:
    """How another machine differs, in words: nothing where the same measurements hold."""
    found = []
    if was.processor != now.processor:
        found.append(f"the processor is {now.processor}, and was {was.processor}")
    if was.cores != now.cores:
        found.append(f"{_cores(now.cores)} may be used, and {_cores(was.cores)} could")
    lost, new = set(was.features) - set(now.features), set(now.features) - set(was.features)
    if lost:
        found.append(f"the processor has no {', '.join(sorted(lost))}")
    if new:
        found.append(f"the processor has {', '.join(sorted(new))} now")
    for name in sorted(was.libraries.keys() | now.libraries.keys()):
        before, here = was.libraries.get(name), now.libraries.get(name)
        if before != here:
            found.append(f"{name} is {here or 'not installed'}, and was {before or 'not there'}")
    return found


def processor(cpuinfo: str) -> str:
    """The name of the first processor in what the kernel says; else its architecture."""
    return _first(cpuinfo, "model name") or platform.machine()


def features(cpuinfo: str) -> tuple[str, ...]:
    """Which of the abilities that matter the first processor has."""
    said = set((_first(cpuinfo, "flags") or _first(cpuinfo, "Features")).split())
    return tuple(name for name in _FEATURES if name in said)


def _first(cpuinfo: str, key: str) -> str:
    for text in cpuinfo.splitlines():
        name, _, value = text.partition(":")
        if name.strip() == key:
            return " ".join(value.split())
    return ""


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return _version(_ALSO[library]) if library in _ALSO else None


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
