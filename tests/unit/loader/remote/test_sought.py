"""Which versions an order gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.loader.remote.remotes import nothing_remote
from headrace.loader.remote.sought import Sought
from headrace.order import Load, VersionPolicy
from headrace.settings import ModelSettings, Settings
from headrace.versions import Versions


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (None, [3]),
        (VersionPolicy(), [1, 2, 3]),
        (VersionPolicy(latest=2), [2, 3]),
    ],
)
async def test_a_policy_of_an_order_wins_over_the_settings(
    tmp_path: Path, policy: VersionPolicy | None, versions: list[int]
) -> None:
    for version in (1, 2, 3):
        (tmp_path / f"m/{version}").mkdir(parents=True)
        (tmp_path / f"m/{version}/model.fake").touch()
    entry = ModelSettings(path=tmp_path, versions=Versions(latest=1))
    sought = Sought(nothing_remote(Settings(models=(entry,))))
    found = await sought.named(Load(name="m", policy=policy))
    assert [one.version for one in found] == versions
