"""Machines to play with: folders as Linux's ``/sys/devices/system``, and values."""

from __future__ import annotations

from pathlib import Path

from headrace.topology import Cpu, Machine


def machine(nodes: int, cores: int, *, halves: int = 1, caches: int = 1) -> Machine:
    """So many nodes of so many physical cores, each of so many processors.

    Numbered as most machines are: first one of each core, then the others. Each node has so many
    caches, which share its cores evenly.
    """
    physical = nodes * cores
    first = [core - core % (cores // caches) for core in range(cores)]
    cpus = [
        Cpu(
            half * physical + core, core, core // cores * cores + first[core % cores], core // cores
        )
        for half in range(halves)
        for core in range(physical)
    ]
    return Machine(tuple(cpus))


def write(root: Path, plan: Machine) -> Path:
    """The folder in which Linux would tell of such a machine."""
    for cpu in plan.cpus:
        folder = root / "cpu" / f"cpu{cpu.number}"
        siblings = [one.number for one in plan.cpus if one.core == cpu.core]
        sharing = [one.number for one in plan.cpus if one.cache == cpu.cache]
        _file(folder / "topology" / "thread_siblings_list", siblings)
        _file(folder / "cache" / "index0" / "shared_cpu_list", siblings)
        _file(folder / "cache" / "index0" / "level", [1])
        _file(folder / "cache" / "index3" / "shared_cpu_list", sharing)
        _file(folder / "cache" / "index3" / "level", [3])
    for node in {cpu.node for cpu in plan.cpus}:
        mine = [cpu.number for cpu in plan.cpus if cpu.node == node]
        _file(root / "node" / f"node{node}" / "cpulist", mine)
    return root


def _file(path: Path, numbers: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(",".join(map(str, numbers)) + "\n")
