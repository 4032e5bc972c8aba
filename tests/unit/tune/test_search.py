"""Who is raced, and what is sent in a race."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from headrace.engine_control import SignatureMessage
from headrace.load.command.drive import screen
from headrace.load.data import read_numpy
from headrace.settings import BackendName
from headrace.tune import search
from headrace.tune.answers import Gated
from headrace.tune.budget import Budget
from headrace.tune.data import Samples
from headrace.tune.job import Job
from headrace.tune.journal import Journal
from headrace.tune.labs import Found
from headrace.tune.model import find_model
from headrace.tune.profile import Profiled
from headrace.tune.progress import Progress
from headrace.tune.search import sent, worth_racing
from headrace.tune.wanted import Objective, Wanted
from headrace.values import Array, DType, Signature, TensorSpec
from tests.e2e.models import write_fake
from tests.unit.tune.made import candidate, forecast
from tests.unit.tune.test_resume import LOADED

NAMES = ("file", "x")
SIGNATURE = Signature(
    tuple(TensorSpec(name, DType.FP32, (None, 4)) for name in NAMES),
    (TensorSpec("y", DType.FP32, (None, 4)),),
    batched=True,
)


def written(folder: Path) -> dict[str, Array]:
    """What is sent of twenty real samples."""
    loaded = LOADED.model_copy(update={"signature": SignatureMessage.of(SIGNATURE)})
    rows = np.arange(80, dtype=np.float32).reshape(20, 4)
    samples = Samples(dict.fromkeys(NAMES, rows), None, "20 samples")
    found = Found(Profiled((), (), 3), candidate(), Gated(()), samples, loaded)
    model = find_model(str(write_fake(folder / "m.fake")), 0.05)
    wanted = Wanted(Objective(0.05), 0.005, 240.0)
    with screen(Console(file=io.StringIO())) as shown, Journal(None) as journal:
        progress = Progress(shown, Budget(0.0, 240.0), lambda: 0.0)
        entry = search._entry(found, Job(model, wanted, folder, journal, progress), folder)
    assert entry.data is not None
    found_there = read_numpy(entry.data)
    assert isinstance(found_there, dict)
    return found_there


def test_rows_of_inputs_of_any_name_are_sent(tmp_path: Path) -> None:
    arrays = written(tmp_path)
    assert arrays.keys() == set(NAMES)
    assert arrays["file"].shape == (20, 4)


def test_anew_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HEADRACE_SERVER__CACHE_DIR", str(tmp_path / "file"))
    model = find_model(str(write_fake(tmp_path / "m.fake")), 0.05)
    wanted = Wanted(Objective(0.05), 0.005, 240.0)
    with search.journal_of(model, wanted, None, fresh=True) as journal:
        journal.put(1, "what")
        assert journal.get("what") == 1


@pytest.mark.parametrize(
    ("rows", "row_bytes", "wanted"),
    [(2000, 4096, 64), (10, 4096, 10), (100, 8 * 2**20, 8), (3, 80 * 2**20, 1)],
)
def test_a_race_sends_so_many_rows_and_so_many_bytes_at_most(
    rows: int, row_bytes: int, wanted: int
) -> None:
    # Two inputs that share the bytes; of no memory, whatever they hold.
    half = np.broadcast_to(np.zeros((1, 1), np.uint8), (rows, row_bytes // 2))
    assert len(sent(Samples({"a": half, "b": half}, None, "all"))) == wanted


def test_the_rows_are_from_everywhere() -> None:
    samples = Samples({"x": np.arange(2000).reshape(-1, 1)}, None, "all")
    places = sent(samples).inputs["x"][:, 0]
    assert (places[0], places[-1]) == (0, 1999)
    assert np.diff(places).max() <= 32


def test_of_the_untuned_way_only_batches_of_one_are_raced_besides() -> None:
    untuned, other = candidate(max_batch=64), BackendName.ONNXRUNTIME
    rates = {untuned: 1000.0}
    for cap, rate in ((1, 990.0), (4, 1000.0), (8, 1000.0)):
        rates[candidate(max_batch=cap)] = rate
        rates[replace(candidate(max_batch=cap), backend=other)] = rate - 400
    found = [forecast(one, rate) for one, rate in rates.items() if one != untuned]
    raced = [one.candidate for one in worth_racing(found, rates, untuned)]
    assert raced == [candidate(max_batch=1), replace(candidate(max_batch=8), backend=other)]
