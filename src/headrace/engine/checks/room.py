"""How much memory is free for a model: the machine's, or what is left of a container's limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headrace.errors import ModelLoadError

_GIB = 2**30
_CGROUPS = Path("/sys/fs/cgroup")


def check(needed_bytes: int, free_bytes: int | None) -> None:
    """Check that the weights of a model fit, before room is made for them.

    Raises:
        ModelLoadError: they do not.
    """
    if free_bytes is not None and needed_bytes > free_bytes:
        raise ModelLoadError(
            f"declares {needed_bytes / _GIB:.1f} GiB of weights, and {free_bytes / _GIB:.1f} GiB "
            "of memory are free: unload other models, or take a larger machine"
        )


def free_bytes() -> int | None:
    """The memory that this process and others may still take, swap included; None: who knows."""
    return left(_read(Path("/proc/meminfo")), _read(Path("/proc/self/cgroup")), _CGROUPS)


def left(meminfo: str, cgroup: str, groups: Path) -> int | None:
    """What these files of proc(5) and cgroups(7) say is left; ``groups`` is where groups lie."""
    machine = _keyed(meminfo)
    if "MemAvailable" not in machine:
        return None
    free = 1024 * (machine["MemAvailable"] + machine.get("SwapFree", 0))
    return min([free, *filter(None, map(_left_bytes, _groups(cgroup, groups)))])


def _groups(said: str, root: Path) -> list[Path]:
    """The control groups this process is in (version 2): its own and those around it."""
    for line in said.splitlines():
        if line.startswith("0::/"):
            own = root / line[4:]
            return [own, *(one for one in own.parents if one.is_relative_to(root))]
    return []


def _left_bytes(group: Path) -> int | None:
    """What is left of a group's limit; files in its cache give way. None: it has no limit."""
    limit, used = _read(group / "memory.max").strip(), _read(group / "memory.current").strip()
    if not (limit.isdecimal() and used.isdecimal()):
        return None
    told = _keyed(_read(group / "memory.stat"))
    cached = told.get("active_file", 0) + told.get("inactive_file", 0)
    return max(1, int(limit) - int(used) + cached)


def _keyed(text: str) -> Mapping[str, int]:
    """Lines of a name and a number, as in meminfo and memory.stat."""
    found = {}
    for line in text.splitlines():
        name, *rest = line.replace(":", " ").split()
        if rest and rest[0].isdecimal():
            found[name] = int(rest[0])
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not this kind of system
        return ""
