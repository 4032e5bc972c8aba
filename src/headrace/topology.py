"""The processors of this machine, and what they share: a core, a cache, a memory node.

Read from ``/sys/devices/system`` (Documentation/admin-guide/cputopology.rst of Linux), or from a
folder like it. Where that says nothing, as in some containers, every processor is a core of its
own, and all are on one node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/sys/devices/system")
"""Where Linux tells."""

_LAST_CACHE = "3"


@dataclass(frozen=True, slots=True)
class Cpu:
    """One processor as the kernel counts them: a physical core may be several.

    ``core`` and ``cache`` are the lowest number that shares its physical core, and its L3 cache.
    """

    number: int
    core: int
    cache: int
    node: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The processors that this process may use, ascending.

    ``quota`` is how many of them may be busy at a time, where that is fewer.
    """

    cpus: tuple[Cpu, ...]
    quota: int | None = None

    @property
    def largest_node(self) -> int:
        """How many processors the largest memory node has."""
        nodes = [cpu.node for cpu in self.cpus]
        return max(map(nodes.count, set(nodes)), default=0)


def read(root: Path, allowed: Iterable[int], usable: int) -> Machine:
    """Read the machine: the processors ``allowed``, of which ``usable`` may be busy at a time."""
    mine = sorted(allowed)
    nodes = {
        number: int(folder.name.removeprefix("node"))
        for folder in sorted((root / "node").glob("node[0-9]*"))
        for number in numbers(_text(folder / "cpulist"))
    }
    cpus = tuple(_cpu(root / "cpu" / f"cpu{number}", number, nodes) for number in mine)
    return Machine(cpus, usable if usable < len(cpus) else None)


def numbers(text: str) -> tuple[int, ...]:
    """What a list of the kernel names: ``0-2,8`` is 0, 1, 2 and 8."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def listed(cores: Iterable[int]) -> str:
    """Cores as the kernel lists them: ``0-2,8``."""
    text: list[str] = []
    first = last = -2
    for number in [*sorted(cores), -1]:
        if number == last + 1:
            last = number
            continue
        if last >= 0:
            text.append(f"{first}" if first == last else f"{first}-{last}")
        first = last = number
    return ",".join(text)


def _cpu(folder: Path, number: int, nodes: dict[int, int]) -> Cpu:
    topology = folder / "topology"
    # The newer name first.
    siblings = _text(topology / "core_cpus_list") or _text(topology / "thread_siblings_list")
    sharing = next(
        (
            _text(cache / "shared_cpu_list")
            for cache in sorted((folder / "cache").glob("index*"))
            if _text(cache / "level") == _LAST_CACHE
        ),
        "",
    )
    node = nodes.get(number, 0)
    core = min(numbers(siblings), default=number)
    # Without an L3 cache what is shared is the memory of the node.
    cache = min(
        numbers(sharing) or (other for other, its in nodes.items() if its == node), default=0
    )
    return Cpu(number, core, cache, node)


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
