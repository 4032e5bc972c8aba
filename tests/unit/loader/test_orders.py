"""Orders on a fleet of real engines that run doubles; the receiver agrees to everything."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from headrace.control import Labels, ModelServing, ModelState, Recall, Recalled
from headrace.engine.samples import Sample, write
from headrace.loader import crew, orders, stamps
from headrace.loader.fleet import Fleet
from headrace.loader.orders import Orders
from headrace.loader.stamps import Stamp
from headrace.loader.store import FoundVersion, find
from headrace.message import Message
from headrace.order import Demand, Label, Load, Order, Reload, Unload, VersionPolicy, WantedModel
from headrace.server_settings import ModelControl, ServerSettings
from headrace.settings import ModelSettings, Settings
from headrace.verify import Verify
from tests.unit.loader.audience import NOBODY


def _write(root: Path, name: str, *versions: int, text: str = "") -> None:
    for version in versions:
        path = root / name / str(version) / "model.fake"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Scene:
    """Orders, their fleet, and what the receiver was told."""

    def __init__(
        self,
        folder: Path,
        verify: str = "off",
        *,
        preload: bool = True,
        version_labels: dict[str, int] | None = None,
        **server: Any,
    ) -> None:
        self.told: list[Message] = []
        self.settings = settings = Settings(
            server=ServerSettings(**{"model_control": ModelControl.EXPLICIT, **server}),
            defaults=ModelSettings(
                instances=1,
                max_batch=1,
                verify=Verify.model_validate(verify),
                preload=preload,
            ),
            models=(ModelSettings(path=folder / "models", version_labels=version_labels or {}),),
        )
        run = folder / "run"
        run.mkdir()
        self.fleet = Fleet(
            settings.server,
            run,
            tell=self._hear,
            audience=NOBODY,
        )
        self.orders = Orders(settings, self.fleet)

    def _hear(self, message: Message) -> None:
        self.told.append(message)
        loop = asyncio.get_running_loop()
        if isinstance(message, ModelServing):
            loop.call_soon(self.fleet.confirm, (message.name, message.version), message.socket_path)
        if isinstance(message, Recall):  # what it has been asked, it has answered with the same
            x = np.ones((1, 4), np.float32)
            write(Path(message.path), message.versions[0], [Sample({"x": x}, {"y": x})])
            loop.call_soon(self.fleet.recalled, Recalled(question=message.question, samples=1))
        for one in self.told:
            if isinstance(one, ModelServing):  # a receiver that never has anything left to do
                loop.call_soon(self.fleet.emptied, one.socket_path)

    def served(self) -> dict[str, set[int]]:
        """Name → versions."""
        return {name: set(self.fleet.versions(name)) for name in self.fleet.names()}

    def loads(self) -> int:
        """How many engines have been ready so far."""
        return sum(isinstance(message, ModelServing) for message in self.told)


@contextlib.asynccontextmanager
async def _scene(folder: Path, **server: Any) -> AsyncIterator[Scene]:
    scene = Scene(folder, **server)
    async with asyncio.TaskGroup() as group:
        scene.fleet.start(group, ())
        yield scene
        await scene.fleet.stop(5.0)


async def test_without_model_control_every_order_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path, model_control=ModelControl.NONE) as scene:
        orders = (Load(name="m"), Unload(name="m"), Reload(models=()), Label(name="m", versions={}))
        for order in orders:
            done = await scene.orders.carry_out(order)
            assert done.code == "not_allowed"
        assert scene.served() == {}


async def test_what_a_client_sends_is_not_logged(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    large = "x" * 100_000
    order = Load(name="m", overrides={"slo_ms": large, **{f"key{i}": large for i in range(500)}})
    async with _scene(tmp_path, model_control=ModelControl.NONE) as scene:
        with capture_logs() as logs:
            await scene.orders.carry_out(order)
        assert [line["event"] for line in logs] == ["order_refused"]
    shutil.rmtree(tmp_path / "run")
    async with _scene(tmp_path) as scene:
        with capture_logs() as logs:
            await scene.orders.carry_out(order)
            await scene.orders.carry_out(Unload(name=large))
            await scene.orders.carry_out(Label(name="m", versions={large: 1}))
            await scene.orders.carry_out(
                Reload(models=(WantedModel(name=large, path=large, policy=VersionPolicy()),))
            )
        assert [line["event"] for line in logs] == ["ordered", "order_refused"] * 4
        assert logs[0]["what"].startswith("m: slo_ms, key0, key1, ")
        assert all(len(str(line)) < 1200 for line in logs)


async def test_the_log_tells_what_is_ordered_of_which_models(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    folder = str(tmp_path / "models/m")
    wanted = WantedModel(name="m", path=folder, policy=VersionPolicy())
    async with _scene(tmp_path) as scene:
        with capture_logs() as logs:
            for order in (
                Load(name="m"),
                Demand(name="m", version=1),
                Label(name="m", versions={"stable": 1, "canary": None}),
                Reload(models=(wanted,)),
                Unload(name="m"),
            ):
                await scene.orders.carry_out(order)
        told = [(line["order"], line["what"]) for line in logs if line["event"] == "ordered"]
        assert told == [
            ("load", "m"),
            ("demand", "m version 1"),
            ("label", "m: stable=1, canary=None"),
            ("reload", f"m in {folder}"),
            ("unload", "m"),
        ]


async def test_a_demand_needs_no_leave_to_change_models(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path, preload=False, model_control=ModelControl.NONE) as scene:
        (found,) = find(scene.settings)
        await scene.fleet.take(found)
        assert scene.loads() == 0
        done = await scene.orders.carry_out(Demand(order=3, name="m", version=1))
        assert (done.order, done.code, scene.loads()) == (3, None, 1)


async def test_a_load_loads_what_is_listed_and_a_reload_lists_it(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1, 2)
    async with _scene(tmp_path, preload=False) as scene:
        wanted = WantedModel(
            name="m", path=str(tmp_path / "models/m"), policy=VersionPolicy(latest=1)
        )
        for _ in range(2):
            assert (await scene.orders.carry_out(Reload(models=(wanted,)))).code is None
            assert (scene.served(), scene.loads()) == ({"m": {2}}, 0)
        assert (await scene.orders.carry_out(Load(name="m"))).code is None
        assert (scene.served(), scene.loads()) == ({"m": {1, 2}}, 2)


async def test_a_second_load_of_what_has_not_changed_does_nothing(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1, 2)
    async with _scene(tmp_path) as scene:
        done = await scene.orders.carry_out(Load(order=7, name="m"))
        assert (done.order, done.code) == (7, None)
        assert scene.served() == {"m": {1, 2}}
        assert (await scene.orders.carry_out(Load(name="m"))).code is None
        assert scene.loads() == 2
        _write(tmp_path / "models", "m", 2, text="scale: 2\n")
        assert (await scene.orders.carry_out(Load(name="m"))).code is None
        assert scene.loads() == 3


async def test_labels_move_all_or_none(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1, 2)
    async with _scene(tmp_path) as scene:
        await scene.orders.carry_out(Load(name="m"))
        first = Label(name="m", versions={"stable": 1, "canary": 2, "old": 1})
        assert (await scene.orders.carry_out(first)).code is None
        wrong = Label(name="m", versions={"stable": 2, "canary": 3})
        done = await scene.orders.carry_out(wrong)
        assert (done.code, scene.fleet.labels["m"]["stable"]) == ("invalid_input", 1)
        moved = Label(name="m", versions={"stable": 2, "canary": None, "never": None})
        assert (await scene.orders.carry_out(moved)).code is None
        assert scene.told[-1] == Labels(name="m", versions={"stable": 2, "old": 1})


async def test_a_model_that_is_not_loaded_takes_no_labels(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        done = await scene.orders.carry_out(Label(name="m", versions={"stable": 1}))
        assert done.code == "model_not_found"


async def test_other_settings_are_a_change(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        for overrides in ({}, {"max_queue": 5}, {"max_queue": 5}):
            order = Load(name="m", overrides=overrides)
            assert (await scene.orders.carry_out(order)).code is None
        assert scene.loads() == 2
        assert scene.fleet.versions("m")[1].found.settings.max_queue == 5
        bad = await scene.orders.carry_out(Load(name="m", overrides={"max_queue": 0}))
        assert bad.code == "invalid_input"
        assert "max_queue" in bad.message


async def test_a_policy_chooses_what_serves_and_the_rest_goes(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1, 2, 3)
    async with _scene(tmp_path) as scene:
        await scene.orders.carry_out(Load(name="m"))
        order = Load(name="m", policy=VersionPolicy(latest=1))
        assert (await scene.orders.carry_out(order)).code is None
        assert scene.served() == {"m": {3}}
        none = Load(name="m", policy=VersionPolicy(specific=(9,)))
        done = await scene.orders.carry_out(none)
        assert done.code == "model_not_found"
        assert "it has 1, 2, 3" in done.message


async def test_unload_of_what_is_not_loaded_says_so(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        assert (await scene.orders.carry_out(Unload(name="m"))).code == "model_not_found"
        await scene.orders.carry_out(Load(name="m"))
        assert (await scene.orders.carry_out(Unload(name="m"))).code is None
        assert scene.served() == {}


async def test_reload_replaces_the_set_or_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "models"
    _write(root, "a", 1)
    _write(root, "b", 1, 2)

    def wanted(name: str, **more: Any) -> WantedModel:
        defaults = {"path": str(root / name), "policy": VersionPolicy(latest=1)}
        return WantedModel(name=name, **{**defaults, **more})

    async with _scene(tmp_path) as scene:
        await scene.orders.carry_out(Load(name="a"))
        twice = Reload(models=(wanted("b"), wanted("b")))
        outside = Reload(models=(wanted("b"), wanted("c", path=str(tmp_path))))
        labelled = Reload(models=(wanted("b", labels={"stable": 1}),))
        for order, code in ((twice, "invalid_input"), (outside, "not_allowed")):
            assert (await scene.orders.carry_out(order)).code == code
        assert (await scene.orders.carry_out(labelled)).code == "invalid_input"
        assert scene.served() == {"a": {1}}
        good = Reload(models=(wanted("b", labels={"stable": 2}),))
        assert (await scene.orders.carry_out(good)).code is None
        assert scene.served() == {"b": {2}}
        assert scene.fleet.labels == {"b": {"stable": 2}}


async def test_a_reload_of_which_one_model_fails_leaves_every_model_as_it_was(
    tmp_path: Path,
) -> None:
    root = tmp_path / "models"
    _write(root, "a", 1)
    _write(root, "b", 1)
    _write(root, "c", 1, text="inputs: nothing\n")

    def wanted(name: str, version: int) -> WantedModel:
        labels = {"stable": version}
        return WantedModel(name=name, path=str(root / name), policy=VersionPolicy(), labels=labels)

    async with _scene(tmp_path) as scene:
        await scene.orders.carry_out(Reload(models=(wanted("a", 1),)))
        _write(root, "a", 2)
        order = Reload(models=(wanted("a", 2), wanted("b", 1), wanted("c", 1)))
        done = await scene.orders.carry_out(order)
        assert (done.code, "'c' version 1" in done.message) == ("model_load", True)
        assert scene.served() == {"a": {1}}
        assert scene.fleet.labels == {"a": {"stable": 1}}


async def test_a_label_moves_before_what_it_stood_for_leaves(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1, 2)

    def wanted(version: int) -> Reload:
        policy, labels = VersionPolicy(specific=(version,)), {"stable": version}
        path = str(tmp_path / "models/m")
        return Reload(models=(WantedModel(name="m", path=path, policy=policy, labels=labels),))

    async with _scene(tmp_path) as scene:
        await scene.orders.carry_out(wanted(1))
        assert (await scene.orders.carry_out(wanted(2))).code is None
        leaves = next(
            number
            for number, one in enumerate(scene.told)
            if isinstance(one, ModelState) and (one.version, one.state) == (1, "draining")
        )
        assert scene.told.index(Labels(name="m", versions={"stable": 2})) < leaves
        assert scene.served() == {"m": {2}}


async def test_a_link_out_of_the_roots_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    _write(tmp_path / "secret", "m", 1)
    (tmp_path / "models/m").symlink_to(tmp_path / "secret/m")
    order = Reload(
        models=(WantedModel(name="m", path=str(tmp_path / "models/m"), policy=VersionPolicy()),)
    )
    async with _scene(tmp_path) as scene:
        assert (await scene.orders.carry_out(order)).code == "not_allowed"


async def test_orders_for_one_model_wait_for_each_other(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        orders: list[Order] = [
            Load(order=1, name="m"),
            Unload(order=2, name="m"),
            Load(order=3, name="m"),
        ]
        done = await asyncio.gather(*(scene.orders.carry_out(order) for order in orders))
        assert [one.code for one in done] == [None, None, None]
        assert scene.served() == {"m": {1}}
        assert not scene.orders._locks  # names of clients leave nothing behind


async def test_what_came_with_an_order_that_failed_goes_with_it(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        await scene.orders.carry_out(Load(name="m"))
        _write(tmp_path / "models", "m", 2)
        _write(tmp_path / "models", "m", 3, text="inputs: nothing\n")
        done = await scene.orders.carry_out(Load(name="m"))
        assert done.code == "model_load"
        assert "version 3" in done.message
        assert scene.served() == {"m": {1}}


async def test_a_model_may_come_from_elsewhere_when_its_own_place_is_gone(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    _write(tmp_path / "sent", "m", 4)
    async with _scene(tmp_path) as scene:
        shutil.rmtree(tmp_path / "models")
        order = Load(name="m", folder=str(tmp_path / "sent/m"))
        assert (await scene.orders.carry_out(order)).code is None
        assert scene.served() == {"m": {4}}


async def test_what_can_be_no_path_is_refused_and_ends_nothing(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path) as scene:
        for path, code in (("a\0b", "invalid_input"), ("~nosuchuser/m", "not_allowed")):
            models = (WantedModel(name="m", path=path, policy=VersionPolicy()),)
            assert (await scene.orders.carry_out(Reload(models=models))).code == code
        done = await scene.orders.carry_out(Load(name="m", overrides={"labels": "a\0b"}))
        assert done.code == "model_load"


async def test_no_file_is_looked_at_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "models", "m", 1)
    threads = []

    def seen(found: FoundVersion) -> Stamp:
        threads.append(threading.current_thread())
        return stamps.stamp(found)

    monkeypatch.setattr(crew, "stamp", seen)
    monkeypatch.setattr(orders, "stamp", seen)
    async with _scene(tmp_path) as scene:
        for _ in range(2):
            assert (await scene.orders.carry_out(Load(name="m"))).code is None
    assert len(threads) == 2
    assert threading.main_thread() not in threads


async def test_files_that_have_gone_before_the_start_are_a_failed_model(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    scene = Scene(tmp_path)
    (found,) = find(Settings(models=(ModelSettings(path=tmp_path / "models"),)), cores=1)
    shutil.rmtree(tmp_path / "models")
    async with asyncio.TaskGroup() as group:
        scene.fleet.start(group, (found,))
        assert scene.fleet.posts()["m", 1].stamp == ()
        await scene.fleet.stop(5.0)


async def test_an_order_hears_of_its_own_model_only(tmp_path: Path) -> None:
    root = tmp_path / "models"
    _write(root, "b", 1)
    (root / "a/1").mkdir(parents=True)
    _write(root, "c", 1)
    (root / "c/1/second.fake").touch()
    (root / "c/config.pbtxt").write_text("{")
    async with _scene(tmp_path) as scene:
        done = {name: await scene.orders.carry_out(Load(name=name)) for name in "abcd"}
    assert {name: one.code for name, one in done.items()} == {
        "a": "model_load",
        "b": None,
        "c": "settings",
        "d": "model_not_found",
    }
    assert "a/1: no model file" in done["a"].message
    assert "c/config.pbtxt" in done["c"].message


async def test_an_order_gets_every_version_it_names_or_none(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1, 2)
    (tmp_path / "models/m/3").mkdir()
    async with _scene(tmp_path) as scene:
        absent = Load(name="m", policy=VersionPolicy(specific=(1, 9)))
        done = await scene.orders.carry_out(absent)
        assert (done.code, "has no version 9" in done.message) == ("model_not_found", True)
        half = await scene.orders.carry_out(Load(name="m"))
        assert (half.code, "m/3: no model file" in half.message) == ("model_load", True)
        assert scene.served() == {}
        whole = Load(name="m", policy=VersionPolicy(specific=(1, 2)))
        assert (await scene.orders.carry_out(whole)).code is None
        assert scene.served() == {"m": {1, 2}}


async def test_two_files_of_one_name_are_refused_and_what_serves_goes_on(tmp_path: Path) -> None:
    flat = tmp_path / "models"
    flat.mkdir()
    (flat / "m.fake").write_text("")
    async with _scene(tmp_path) as scene:
        assert (await scene.orders.carry_out(Load(name="m"))).code is None
        (flat / "m.onnx").write_text("another")
        done = await scene.orders.carry_out(Load(name="m"))
        said = f"two models are called 'm': {flat}/m.fake and {flat}/m.onnx"
        assert (done.code, said in done.message) == ("model_load", True)
        assert (scene.served(), scene.loads()) == ({"m": {1}}, 1)


async def test_a_folder_without_a_model_says_what_was_looked_for(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    (tmp_path / "models/empty").mkdir()
    path = str(tmp_path / "models/empty")
    order = Reload(models=(WantedModel(name="m", path=path, policy=VersionPolicy()),))
    async with _scene(tmp_path) as scene:
        done = await scene.orders.carry_out(order)
    assert (done.code, "looked for a model file" in done.message) == ("model_load", True)


async def test_a_version_that_differs_is_refused_with_a_code_of_its_own(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path, verify="shadow") as scene:
        await scene.orders.carry_out(Load(order=1, name="m"))
        _write(tmp_path / "models", "m", 2, text="scale: 2")
        done = await scene.orders.carry_out(Load(order=2, name="m"))
        assert done.code == "model_differs"
        assert "version 2: it does not answer as version 1" in done.message
        assert scene.served() == {"m": {1}}
        _write(tmp_path / "models", "m", 2, text="scale: 1.01")
        assert (await scene.orders.carry_out(Load(order=3, name="m"))).code is None
        assert scene.served() == {"m": {1, 2}}


async def test_an_error_that_nobody_has_foreseen_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "models", "m", 1)

    def spoiled(*_others: Any, **_more: Any) -> Any:
        raise KeyError("never thought of")

    async with _scene(tmp_path) as scene:
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr("headrace.loader.remote.sought.find_named", spoiled)
            done = await scene.orders.carry_out(Load(order=1, name="m"))
        assert (done.order, done.code) == (1, "internal")
        assert "KeyError: 'never thought of'" in done.message
        assert [line["event"] for line in logs] == ["ordered", "order_failed"]
        assert (await scene.orders.carry_out(Load(order=2, name="m"))).code is None


async def test_what_must_leave_memory_for_the_next_is_compared_with_it(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path, verify="shadow", max_resident=1) as scene:
        await scene.orders.carry_out(Load(order=1, name="m"))
        _write(tmp_path / "models", "m", 1, text="scale: 2")
        done = await scene.orders.carry_out(Load(order=2, name="m"))
        assert done.code == "model_differs"
        _write(tmp_path / "models", "m", 1, text="scale: 1.01")
        assert (await scene.orders.carry_out(Load(order=3, name="m"))).code is None


@pytest.mark.parametrize(("text", "code"), [("load_ms: 1000", None), ("fail: 1", "model_load")])
async def test_a_load_waits_for_what_is_on_its_way(
    tmp_path: Path, text: str, code: str | None
) -> None:
    _write(tmp_path / "models", "m", 1, text=text)
    async with _scene(tmp_path) as scene:
        (found,) = find(scene.settings)
        coming = asyncio.create_task(scene.fleet.load(found))
        while not scene.served():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
        assert (await scene.orders.carry_out(Load(name="m"))).code == code
        assert bool(scene.fleet.serving) is (code is None)
        await asyncio.wait({coming})
        assert (coming.exception() is None) is (code is None)


async def test_a_model_that_an_order_brings_has_the_labels_of_the_settings(tmp_path: Path) -> None:
    _write(tmp_path / "models", "m", 1)
    async with _scene(tmp_path, version_labels={"stable": 1}) as scene:
        await scene.orders.carry_out(Load(name="m"))
        assert scene.fleet.labels == {"m": {"stable": 1}}
        await scene.orders.carry_out(Label(name="m", versions={"stable": None, "new": 1}))
        await scene.orders.carry_out(Load(name="m"))
        assert scene.fleet.labels == {"m": {"new": 1}}
