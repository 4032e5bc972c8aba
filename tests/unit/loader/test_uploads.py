"""Files that clients have sent stay as long as something is served from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.loader.fleet import Fleet
from headrace.loader.uploads import Uploads
from headrace.order import Demand, Label, Load, Order, Reload, Unload
from tests.unit.loader.fleets import fleet_of, version_of


async def _load(fleet: Fleet, uploads: Uploads, folder: Path, name: str = "m") -> None:
    folder.mkdir(parents=True)  # noqa: ASYNC240 - a test may wait for its disk
    await fleet.load(version_of(folder, name=name))
    await uploads.tidy(Load(name=name, folder=str(folder)))


async def test_files_stay_until_the_next_load_of_their_model(tmp_path: Path) -> None:
    first, other, second = (tmp_path / f"uploads-{number}/1" for number in range(3))
    async with fleet_of(tmp_path) as (fleet, _):
        uploads = Uploads(fleet)
        await _load(fleet, uploads, first)
        await _load(fleet, uploads, other, "other")
        assert first.exists()
        await _load(fleet, uploads, second)  # of another receiver
        assert (first.exists(), other.exists(), second.exists()) == (False, True, True)


async def test_files_of_an_order_that_failed_go_and_those_before_stay(tmp_path: Path) -> None:
    first, second = tmp_path / "uploads-1/1", tmp_path / "uploads-1/2"
    async with fleet_of(tmp_path) as (fleet, _):
        uploads = Uploads(fleet)
        await _load(fleet, uploads, first)
        second.mkdir()
        await uploads.tidy(Load(name="m", folder=str(second)))
        assert (first.exists(), second.exists()) == (True, False)


@pytest.mark.parametrize(
    ("order", "stay"),
    [
        (Unload(name="m"), False),
        (Reload(models=()), False),
        (Label(name="m", versions={}), True),
        (Demand(name="m", version=1), True),
    ],
)
async def test_files_go_when_nothing_needs_them(tmp_path: Path, order: Order, stay: bool) -> None:
    folder = tmp_path / "uploads-1/1"
    async with fleet_of(tmp_path) as (fleet, _):
        uploads = Uploads(fleet)
        await _load(fleet, uploads, folder)
        if not stay:
            await fleet.unload(("m", 1))
        await uploads.tidy(order)
        assert folder.exists() == stay


async def test_those_of_a_model_that_waits_to_be_asked_for_stay(tmp_path: Path) -> None:
    folder = tmp_path / "uploads-1/1"
    folder.mkdir(parents=True)
    async with fleet_of(tmp_path) as (fleet, _):
        uploads = Uploads(fleet)
        await fleet.take(version_of(folder, preload=False))
        await uploads.tidy(Load(name="m", folder=str(folder)))
        assert folder.exists()
