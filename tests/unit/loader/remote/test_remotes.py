"""What is kept of places that lie elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.loader.remote.remotes import Remotes
from headrace.loader.store import find
from headrace.server_settings import ServerSettings
from headrace.settings import ModelSettings, Settings
from headrace.urls import Url
from tests.e2e.stores import Web


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_serves_from_behind_a_link_stays_when_its_place_shows_another(
    tmp_path: Path, *, is_kept: bool
) -> None:
    model = tmp_path / "web/m/1/model.fake"
    model.parent.mkdir(parents=True)
    model.write_text("{}")
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")
    with Web(tmp_path / "web") as web:
        server = ServerSettings(cache_dir=link / "cache" if is_kept else None, remote_cache_gib=0)
        entry = ModelSettings(path=Url.parse(f"{web.url}/m"))
        remotes = Remotes(Settings(server=server, models=(entry,)), link / "run")
        remotes.fetch()
        served = [remotes.followed(one).path for one in find(remotes.settings)]
        model.write_text("{scale: 2}")
        remotes.fetch()
        remotes.tidy(served)
        assert [path.read_text() for path in served] == ["{}"]
        remotes.tidy([])
        assert not any(path.exists() for path in served)
