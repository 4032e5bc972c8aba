"""What the person who starts the server reads of a model."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from headrace.control import ModelServing, ModelState
from headrace.screen import show_late, show_loaded, still_loading
from headrace.settings import ModelSettings, Precision
from headrace.values import DType, Signature, TensorSpec
from tests.profiles import plain

SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (TensorSpec("y", DType.FP32, (None, 4)),),
    batched=True,
)


@pytest.mark.parametrize(
    ("precision", "layers", "told"),
    [("bf16", 2, "bf16 (2 in f32), "), ("bf16", 0, "bf16, "), ("f32", 2, "f32, ")],
)
def test_layers_in_f32_are_told_where_others_are_in_bf16(
    precision: str, layers: int, told: str
) -> None:
    screen = StringIO()
    serving = ModelServing(
        name="m",
        version=1,
        socket_path="/s",
        settings=ModelSettings(precision=Precision(precision), f32_layers=layers),
        profile=plain(SIGNATURE, "openvino", precision=precision),
    )
    show_loaded(Console(file=screen, width=200), serving)
    assert told in screen.getvalue()


def test_why_requests_do_not_share_runs_is_told_in_one_line() -> None:
    screen = StringIO()
    serving = ModelServing(
        name="m",
        version=1,
        socket_path="/s",
        settings=ModelSettings(),
        profile=plain(SIGNATURE, alone="two rows together fail:\n [Errno 1]"),
    )
    show_loaded(Console(file=screen, width=20), serving)
    told = "  requests do not share runs: two rows together fail: [Errno 1]"
    assert screen.getvalue().splitlines()[1:] == [told]


def test_of_a_start_that_takes_long_the_longest_are_told_first() -> None:
    def state(name: str, is_in: str, since_s: float) -> ModelState:
        return ModelState(name=name, version=1, state=is_in, since_unix_s=since_s)

    states = [state("last", "found", 70), state("late", "warming", 95)]
    states += [state("there", "serving", 80), state("model-0", "loading", 90)]
    screen = StringIO()
    show_late(Console(file=screen, width=20), *still_loading(states, now_unix_s=102.25))
    told = (
        "still loading: model-0 version 1 (loading, 12 s), late version 1 (warming, 7 s), "
        "last version 1 (found, 32 s)\n"
    )
    assert screen.getvalue() == told
    states += [state(f"model-{number}", "loading", 90) for number in range(1, 300)]
    late, more = still_loading(states, now_unix_s=100)
    assert (len(late), more) == (8, 294)
    show_late(Console(file=screen, width=20), late, more)
    assert screen.getvalue().endswith("model-7 version 1 (loading, 10 s) and 294 more\n")
