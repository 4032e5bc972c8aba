"""The table of figures in the READMEs, made of what `benchmarks/results` keeps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_SHARES = re.compile(r"([\d.]+) of ([\d.]+) rows/s")
_BY_HAND = re.compile(r"which does ([\d,]+) requests/s")
_OFFERED = re.compile(r"(\d+) of (\d+) offered/s")


class Words(NamedTuple):
    """What a language calls things; ``rows`` in the order of the table."""

    heading: tuple[str, str, str, str]
    rows_s: str
    requests_s: str
    by_hand: str
    as_above: str
    in_time: str
    of_capacity: str
    rows: tuple[str, ...]


ENGLISH = Words(
    ("what", "Headrace", "bare backend loop", "ratio"),
    "{} rows/s",
    "{} requests/s",
    "{} (in an ASGI handler written by hand)",
    "{} (as above)",
    "{good} of {offered} offered/s; p99 {p99} ms",
    "{} of capacity",
    (
        "MiniLM, 128 tokens",
        "EfficientNet-Lite0, 602 kB a request",
        "ResNet-50",
        "MLP 784-128-10, gRPC, 256 at once",
        "the same, REST, 256 connections",
        "the same, gRPC, 1 at a time",
        "MiniLM int8, twice the load, 50 ms objective: in time",
    ),
)
CHINESE = Words(
    ("项目", "Headrace", "裸循环", "比值"),
    "{} 行/秒",
    "{} 请求/秒",
    "{}（手写的 ASGI 处理函数）",
    "{}（同上）",
    "每秒 {offered} 个请求中的 {good} 个；p99 {p99} ms",
    "容量的 {}",
    (
        "MiniLM，128 个词元",
        "EfficientNet-Lite0，每个请求 602 kB",
        "ResNet-50",
        "MLP 784-128-10，gRPC，256 个并发",
        "同上，REST，256 个连接",
        "同上，gRPC，一次一个",
        "MiniLM int8，两倍负载，目标 50 ms：按时应答",
    ),
)
_REAL = ("minilm-128", "efficientnet-lite0", "resnet50")
_TINY = ("gRPC, 256 at once", "REST binary, 256 connections", "gRPC, 1 at a time")
_OVERLOAD = "minilm-int8 at 2x"


def summary(words: Words) -> str:
    """Return the table."""
    names = iter(words.rows)
    rows = [words.heading]
    real, tiny, overload = _figures("real"), _figures("tiny"), _figures("overload")
    for model in _REAL:
        figure = real[f"{model}, share of the bare loop"]
        served, bare = _found(_SHARES, figure)
        ours, loop = words.rows_s.format(_round(served)), words.rows_s.format(_round(bare))
        rows.append((next(names), ours, loop, _ratio(figure)))
    told = words.by_hand
    for case in _TINY:
        ratio = tiny[f"{case}: ratio to one written by hand"]
        ours = words.requests_s.format(_round(tiny[case]["value"]))
        by_hand = told.format(_round(_found(_BY_HAND, ratio)[0]))
        rows.append((next(names), ours, by_hand, _ratio(ratio)))
        told = words.as_above
    figure = overload[f"{_OVERLOAD}: goodput, share of capacity"]
    good, offered = _found(_OFFERED, figure)
    p99 = f"{overload[f'{_OVERLOAD}: p99 of the answered']['value']:.0f}"
    ours = words.in_time.format(good=f"{good:.0f}", offered=f"{offered:.0f}", p99=p99)
    rows.append((next(names), ours, "", words.of_capacity.format(_ratio(figure))))
    head, *others = [f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in rows]
    return "".join([head, f"{'|---' * len(words.heading)}|\n", *others])


def _figures(name: str) -> dict[str, dict[str, Any]]:
    document = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return {figure["name"]: figure for figure in document["figures"]}


def _found(pattern: re.Pattern[str], figure: dict[str, Any]) -> list[float]:
    match = pattern.search(figure["note"])
    if match is None:
        raise ValueError(f"{figure['name']}: its note says otherwise: {figure['note']}")
    return [float(group.replace(",", "")) for group in match.groups()]


def _round(value: float) -> str:
    """Three digits that matter."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.1f}"  # noqa: PLR2004


def _ratio(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.2f}"
