"""What ``headrace plan`` predicts beside what real models do, at four loads each.

The command calibrates with short loads of its own, in turns with parts of each load, and plans with
those alone: none of what is compared has been looked at before. The sender shares the cores with
the server, as the plan knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks import command, models
from benchmarks.figures import Figure
from headrace.plan.compare import P50_BAR, P99_BAR
from headrace.plan.question import LOADS
from headrace.testing import Server


class _Planned(NamedTuple):
    """A model, its objective, and the shapes of its inputs where they are free."""

    name: str
    slo_ms: int
    shapes: tuple[str, ...] = ()


_MODELS = (
    _Planned(
        "minilm-int8",
        100,
        ("input_ids=1,16", "attention_mask=1,16", "token_type_ids=1,16"),
    ),
    _Planned("efficientnet-lite0", 100),
    _Planned("pp-ocr-rec", 200, ("x=1,3,48,320",)),
)


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Plan each model, and drive it."""
    for one in _MODELS:
        progress(f"{one.name}, planned and driven (some minutes)")
        yield from _figures(one, _plan(one))


def _plan(one: _Planned) -> dict[str, Any]:
    with Server(models.folder(one.name), "--slo-ms", str(one.slo_ms)) as server:
        words = ["plan", server.url, "--model", one.name, "--measure", "--json"]
        for shape in one.shapes:
            words += ["--shape", shape]
        return command.ask(*words)


def _figures(one: _Planned, found: dict[str, Any]) -> Iterator[Figure]:
    if not found["measured"]:
        raise RuntimeError(f"{one.name}: no rate is inside {one.slo_ms} ms on this machine")
    if len(found["measured"]) != len(LOADS):
        raise RuntimeError(f"{one.name}: of some load nothing was sent")
    for share, load in zip(LOADS, found["measured"], strict=True):
        for name, bar in (("p50_ms", P50_BAR), ("p99_ms", P99_BAR)):
            both = load[name]
            if both["error"] is None:
                raise RuntimeError(f"{one.name}: nothing was measured: {load['causes']}")
            causes = f"; {'; '.join(load['causes'])}" if load["causes"] else ""
            yield Figure(
                f"{one.name} at about {share:.0%} of its limit: {name.removesuffix('_ms')} off",
                round(abs(both["error"]), 3),
                "",
                bar,
                at_most=True,
                note=f"{load['rate_rps']:.0f} requests/s, {load['share_of_limit']:.0%} of the "
                f"limit as planned at last; predicted {both['predicted']:.1f} ms, "
                f"measured {both['measured']:.1f} ms; "
                f"batches {load['mean_batch'][0]:.1f} and {load['mean_batch'][1]:.1f}{causes}",
            )
