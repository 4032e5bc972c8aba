"""Inductor: what it compiles answers as the program does, and is compiled once."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from headrace.engine import backends
from headrace.engine.built import built_of
from headrace.engine.preparing import prepared
from headrace.engine_control import EngineSpec
from headrace.errors import BackendMissing, ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import Array
from tests.contract.test_formats import needs_torch

pytestmark = [
    needs_torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),  # of its own use of it
]


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    double: Any = importlib.import_module("tests.unit.engine.torch_double")
    path: Path = double.write_block(tmp_path_factory.mktemp("inductor") / "block.pt2")
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def settings(backend: str = "inductor", **keys: Any) -> ModelSettings:
    said = {"backend": backend, "instances": 2, "max_batch": 4, **keys}
    return ModelSettings.model_validate(said)


def load(path: Path, asked: ModelSettings, cache: Path) -> Any:
    return backends.load(path, asked, built_of(cache, path, asked))[1]


def rows(count: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(count).random((count, 3, 6, 6), np.float32)}


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-5), ("bf16", 4e-2)])
def test_it_answers_as_the_program_does_at_any_size_on_lanes_that_run_at_once(
    block: Path, cache: Path, precision: str, tolerance: float
) -> None:
    kept = built_of(cache, block, settings(precision=precision))
    assert kept is not None
    for name in ("ended", "at-work"):  # of others, who share the cache
        (kept / f".compiling-{name}").mkdir()
    os.utime(kept / ".compiling-ended", (0, 0))
    model = load(block, settings(precision=precision), cache)
    assert {one.name for one in kept.iterdir()} == {"model.pt2", ".compiling-at-work"}
    plain = load(block, settings("torch"), cache)
    assert model.signature == plain.signature
    assert model.precision == precision
    lanes, exact = [model.instance(), model.instance()], plain.instance()
    with ThreadPoolExecutor(2) as pool:
        for count in (1, 2, 5):
            wanted = exact.run(rows(count))
            for found in pool.map(lambda lane, n=count: lane.run(rows(n)), lanes):
                assert [a.dtype for a in found.values()] == [a.dtype for a in wanted.values()]
                off = np.abs(found["y"] - wanted["y"]).max() / np.abs(wanted["y"]).max()
                assert off < tolerance


def test_a_second_start_needs_no_compiler_and_one_without_says_what_to_install(
    block: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EngineSpec(
        name="block",
        version=1,
        socket_path="",
        path=str(block),
        settings=settings(),
        cache_dir=str(cache),
    )
    assert not prepared(spec, lambda _: None).cached
    monkeypatch.setenv("CXX", "nowhere")
    again = prepared(spec, lambda _: None)
    assert again.cached
    assert again.choice.backend == "inductor"
    other = load(block, settings(threads=2, instances=1), cache)
    assert other.instance().run(rows(3))["y"].shape == (3, 5)
    with pytest.raises(BackendMissing, match=r"CXX names nowhere.*install g\+\+"):
        load(block, settings(), cache / "another")


def test_that_its_answers_are_random_is_told_at_each_start(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    class Samples(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def forward(self, x: torch.Tensor) -> Any:
            return torch.bernoulli(torch.sigmoid(x))

    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Samples(), (torch.zeros(2, 4),)), path)
    for _ in range(2):
        with capture_logs() as logs:
            load(path, settings(), cache)
        assert [(one["event"], one["operators"]) for one in logs] == [
            ("answers_are_random", ["aten::bernoulli"])
        ]
        monkeypatch.setenv("CXX", "nowhere")  # from now on it can only be loaded


def test_a_library_that_others_may_have_written_is_not_loaded(
    block: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "nowhere")  # so that it can only be loaded
    kept = built_of(cache, block, settings())
    assert kept is not None
    assert (kept / "model.pt2").stat().st_mode & 0o777 == 0o600
    (kept / "model.pt2").chmod(0o666)
    with pytest.raises(BackendMissing):
        load(block, settings(), cache)
    (kept / "model.pt2").chmod(0o600)
    load(block, settings(), cache)


def test_only_programs_on_the_processor_are_compiled(block: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    for path, keys in ((tmp_path / "model.pt", {}), (block, {"device": "cuda"})):
        with pytest.raises(ModelLoadError, match=r"compiles a \.pt2 for the processor"):
            load(path, settings(**keys), tmp_path)
    with pytest.raises(ModelLoadError, match="f16 is not to be had"):
        load(block, settings(precision="f16"), tmp_path)
