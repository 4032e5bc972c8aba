"""A machine is read as it is told of; where nothing is told, it is flat."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.topology import Cpu, Machine, listed, numbers, read
from tests.unit.machines import machine, write


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(machine(1, 2), id="small"),
        pytest.param(machine(2, 4, halves=2), id="two nodes, each core twice"),
        pytest.param(machine(1, 8, caches=2), id="two caches"),
        pytest.param(machine(2, 8, halves=2, caches=4), id="all of it"),
    ],
)
def test_a_machine_is_read_as_it_is_told_of(tmp_path: Path, plan: Machine) -> None:
    every = [cpu.number for cpu in plan.cpus]
    assert read(write(tmp_path, plan), every, len(every)) == plan


def test_only_what_this_process_may_use_counts(tmp_path: Path) -> None:
    """An offline processor is in no process's mask; a cpuset is the mask."""
    root = write(tmp_path, machine(2, 4))
    assert [(cpu.number, cpu.node) for cpu in read(root, {5, 2}, 2).cpus] == [(2, 0), (5, 1)]


def test_a_machine_that_tells_nothing_is_flat(tmp_path: Path) -> None:
    found = read(tmp_path, {0, 1, 3}, 3)
    assert [(cpu.number, cpu.core, cpu.node) for cpu in found.cpus] == [
        (0, 0, 0),
        (1, 1, 0),
        (3, 3, 0),
    ]
    assert len({cpu.cache for cpu in found.cpus}) == 1
    assert found.largest_node == 3


def test_without_an_l3_cache_a_node_shares_its_memory(tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / "node" / f"node{number // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpulist").write_text(f"{number // 2 * 2}-{number // 2 * 2 + 1}\n")
    assert read(tmp_path, range(4), 4).cpus == (
        Cpu(0, 0, 0, 0),
        Cpu(1, 1, 0, 0),
        Cpu(2, 2, 2, 1),
        Cpu(3, 3, 2, 1),
    )


def test_a_quota_below_the_processors_is_told(tmp_path: Path) -> None:
    assert read(tmp_path, range(8), 2).quota == 2
    assert read(tmp_path, range(8), 8).quota is None


@given(st.sets(st.integers(0, 300)))
def test_what_is_listed_is_read_back(some: set[int]) -> None:
    assert numbers(listed(some)) == tuple(sorted(some))


def test_neighbours_are_listed_as_a_range() -> None:
    assert listed([8, 0, 1, 2, 10]) == "0-2,8,10"
