"""A user without a home, as containers have them: nothing is written into a folder called ``~``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.errors import StartError
from headrace.loader.remote import remotes
from headrace.loader.specification import specify
from headrace.receiver.envoy import Address, launch
from headrace.server_settings import ServerSettings
from headrace.settings import Settings
from headrace.tune import model
from tests.unit.loader.fleets import version_of

SERVER = ServerSettings(
    cache_dir=Path("~nobody-of-that-name/kept"), access_log=Path("~nobody-of-that-name/log")
)


def test_copies_are_kept_in_the_folder_of_the_run(tmp_path: Path) -> None:
    assert remotes._kept(Settings(server=SERVER), tmp_path) == tmp_path / "copies"
    kept = ServerSettings(cache_dir=tmp_path / "kept")
    assert remotes._kept(Settings(server=kept), tmp_path) == tmp_path / "kept/remote"


def test_engines_and_tuning_keep_nothing(tmp_path: Path) -> None:
    found = version_of(tmp_path)
    spec = specify(found, SERVER, socket_path="s", beside=False, samples=None, seen=(), cores=())
    assert spec.cache_dir is None
    assert model._cache_dir(Settings(server=SERVER)) is None


def test_an_access_log_there_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot write the access log ~nobody.*server.access_log"):
        launch(
            SERVER,
            [Address("127.0.0.1", 0)],
            control_path=tmp_path / "control",
            admin_path=tmp_path / "admin",
            config_path=tmp_path / "receiver.json",
            environment=os.environ,
        )
