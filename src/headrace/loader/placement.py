"""Which cores the instances of a model keep to. Pure.

``cores``: each instance has its own, whole physical cores before the second halves of some, within
one cache, else one memory node, while it fits there; the instances are spread over the nodes. Where
there are not enough for all models, those that fewest have are shared.

``node``: the engine keeps to the cores of one node, with whoever else is there; models are spread
over the nodes. All instances of a model share its weights, and so a node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from headrace.device import CPU
from headrace.errors import SettingsError
from headrace.settings import ModelSettings, Placement
from headrace.topology import Cpu, Machine


class Claim(NamedTuple):
    """The cores of each instance of a model; ``own``: it has them to itself."""

    cores: tuple[tuple[int, ...], ...]
    threads: int
    own: bool


def suited(machine: Machine, name: str, settings: ModelSettings, *, said: bool) -> ModelSettings:
    """The settings of a model, with the instances that its placement has room for.

    ``said``: somebody has said how many.

    Raises:
        SettingsError: the machine has not what is asked for.
    """
    wants, instances, threads = settings.placement, settings.instances or 1, settings.threads
    if wants is Placement.NONE:
        return settings
    if settings.device != CPU:
        raise SettingsError(
            f"model {name!r}: `placement: {wants.value}` places what runs on the processor, and "
            f"{settings.device} runs this: say `placement: none`"
        )
    if wants is Placement.CORES and machine.quota is not None:
        raise SettingsError(
            f"model {name!r}: `placement: cores` wants cores of its own, and this container has a "
            f"quota of {machine.quota} of {len(machine.cpus)} that others use too: give it a "
            "cpuset (in Docker, --cpuset-cpus), or say `placement: node` or `none`"
        )
    most = len(machine.cpus) if wants is Placement.CORES else machine.largest_node
    if wants is Placement.NODE and not said:
        instances = max(1, min(instances, most // threads))
    if instances * threads > most:
        where = "this machine" if wants is Placement.CORES else "a memory node here"
        raise SettingsError(
            f"model {name!r}: `placement: {wants.value}` of {instances} instances of {threads} "
            f"threads wants {instances * threads} cores, and {where} has {most}: lower `instances` "
            "or `threads`, or say `placement: none`"
        )
    return settings.model_copy(update={"instances": instances})


def place(
    machine: Machine, claims: Iterable[Claim], settings: ModelSettings, receivers: int
) -> Claim | None:
    """Place a model beside those that have claims; None: the machine has no room for it.

    So many physical cores are left to the ``receivers`` while there are others.
    """
    instances, threads = settings.instances or 1, settings.threads
    ground = _Ground(machine, tuple(claims), receivers)
    if settings.placement is Placement.NODE:
        node = ground.emptiest_node(instances * threads)
        return None if node is None else Claim((node,) * instances, threads, own=False)
    found: list[tuple[int, ...]] = []
    for _ in range(instances):
        cores = ground.next(threads)
        if cores is None:
            return None
        found.append(cores)
    return Claim(tuple(found), threads, own=True)


class _Ground:
    """The machine while one model is being placed."""

    def __init__(self, machine: Machine, claims: Sequence[Claim], receivers: int) -> None:
        self._cpus = {cpu.number: cpu for cpu in machine.cpus}
        self._uses = Counter(
            number for one in claims if one.own for cores in one.cores for number in cores
        )
        self._sizes = Counter(cpu.node for cpu in machine.cpus)
        self._loads = Counter[int]()  # of nodes, in threads
        for one in claims:
            for cores in one.cores:
                at = next((self._cpus[n].node for n in cores if n in self._cpus), None)
                if at is not None:
                    self._loads[at] += one.threads
        self._left = set(sorted({cpu.core for cpu in machine.cpus})[:receivers])
        self._mine: set[int] = set()
        self._here = Counter[int]()  # my instances by node

    def emptiest_node(self, threads: int) -> tuple[int, ...] | None:
        """The cores of the node with the fewest threads a core, of those with room for so many."""
        fit = [node for node, size in self._sizes.items() if size >= threads]
        if not fit:
            return None
        best = min(fit, key=lambda node: (self._loads[node] / self._sizes[node], node))
        return tuple(n for n, cpu in self._cpus.items() if cpu.node == best)

    def next(self, threads: int) -> tuple[int, ...] | None:
        """Cores for one more instance."""
        idle = self._idle()
        pools = ([cpu for cpu in idle if cpu.core not in self._left], idle, self._free())
        domains: tuple[Callable[[Cpu], int], ...] = (_cache, _node)
        found = next(
            (
                cores
                for pool, domain in [
                    *((pool, domain) for pool in pools for domain in domains),
                    *((pool, _machine) for pool in pools),
                    (self._shared(), _node),
                    (self._shared(), _machine),
                ]
                if (cores := self._within(pool, domain, threads))
            ),
            None,
        )
        if found is None:
            return None
        self._mine.update(cpu.number for cpu in found)
        self._here[found[0].node] += 1
        return tuple(sorted(cpu.number for cpu in found))

    def _within(
        self, pool: Sequence[Cpu], domain: Callable[[Cpu], int], threads: int
    ) -> Sequence[Cpu] | None:
        """So many of a pool that share a domain: the one which has least to do."""
        groups: dict[int, list[Cpu]] = {}
        for cpu in pool:
            groups.setdefault(domain(cpu), []).append(cpu)
        fit = [group[:threads] for group in groups.values() if len(group) >= threads]
        return min(fit, key=self._cost, default=None)

    def _cost(self, cpus: Sequence[Cpu]) -> tuple[float, ...]:
        node, size = cpus[0].node, self._sizes[cpus[0].node]
        uses = sum(self._uses[cpu.number] for cpu in cpus)
        cache = sum(self._cpus[number].cache == cpus[0].cache for number in self._mine)
        return uses, self._here[node] / size, self._loads[node] / size, cache, cpus[0].number

    def _free(self) -> list[Cpu]:
        return [cpu for cpu in self._shared() if not self._uses[cpu.number]]

    def _idle(self) -> list[Cpu]:
        """One processor of each physical core that nobody has any of."""
        taken = {cpu.core for n, cpu in self._cpus.items() if self._uses[n] or n in self._mine}
        first: dict[int, Cpu] = {}
        for cpu in self._free():
            if cpu.core not in taken:
                first.setdefault(cpu.core, cpu)
        return list(first.values())

    def _shared(self) -> list[Cpu]:
        """All but my own, those first that fewest have."""
        rest = [cpu for n, cpu in self._cpus.items() if n not in self._mine]
        return sorted(rest, key=lambda cpu: (self._uses[cpu.number], cpu.number))


def _cache(cpu: Cpu) -> int:
    return cpu.cache


def _node(cpu: Cpu) -> int:
    return cpu.node


def _machine(_: Cpu) -> int:
    return 0
