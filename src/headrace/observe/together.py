"""What several receivers have counted, added up as if one had. Pure.

Each tells what it has counted of a topic as text, in the form in which it would answer alone.
Counts are added. What all of them say of the whole server (states, memory, processor time) is
taken once: the largest, for they look at different moments.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any


class Topic(StrEnum):
    """What may be asked of all receivers."""

    METRICS = "metrics"
    TFSERVING = "tfserving"
    SLOWEST = "slowest"
    STATISTICS = "statistics"
    SEEN = "seen"
    RECENT = "recent"
    NOTHING = "nothing"
    """Only whether it has heard what was told before."""


# Gauges of which each receiver has a part.
_PARTS = frozenset({"headrace_queue_length", "headrace_running_batches", "headrace_sequences"})
# Counters of the whole server, which each of them tells.
_WHOLE = frozenset({"headrace_model_moves", "headrace_process_cpu_seconds"})
_LATEST = "last_inference"
_EXACT = 2**53  # below it every whole number is a float


def add_up(topic: Topic, texts: Sequence[str]) -> str:
    """Add up what receivers say of a topic."""
    if len(texts) == 1:
        return texts[0]
    match topic:
        case Topic.METRICS | Topic.TFSERVING:
            return _pages(texts)
        case Topic.SLOWEST:
            return json.dumps([one for text in texts for one in json.loads(text)])
        case Topic.STATISTICS:
            return json.dumps(_statistics([json.loads(text) for text in texts]))
        case Topic.SEEN | Topic.RECENT:
            together = _seen if topic is Topic.SEEN else _recent
            return json.dumps(together([json.loads(text) for text in texts]))
        case Topic.NOTHING:
            return ""


def remains(topic: Topic, text: str) -> str | None:
    """What goes on to count of a receiver that has ended; None: nothing."""
    match topic:
        case Topic.METRICS | Topic.TFSERVING:
            return _counters(text)
        case Topic.STATISTICS | Topic.SEEN:
            return text
        case Topic.SLOWEST | Topic.RECENT | Topic.NOTHING:
            return None


def without(topic: Topic, text: str, name: str, version: int) -> str:
    """What one has told of a topic, less what it was of a version that has ended."""
    match topic:
        case Topic.METRICS:
            its = {f'model="{name}"', f'version="{version}"'}
            lines = text.splitlines(keepends=True)
            return "".join(line for line in lines if not its <= _labels(line))
        case Topic.STATISTICS:
            key = name, str(version)
            models = json.loads(text)
            return json.dumps([one for one in models if (one["name"], one["version"]) != key])
        case Topic.SEEN | Topic.RECENT:
            seen = json.loads(text)
            seen.pop(f"{name}/{version}", None)
            return json.dumps(seen)
        case Topic.TFSERVING | Topic.SLOWEST | Topic.NOTHING:
            return text  # of a model, which keeps its counts; or of a moment


# -- pages of Prometheus ---------------------------------------------------------------------------


def _pages(texts: Iterable[str]) -> str:
    """Add up pages in the text format, family by family, in the order of the first that has it."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, dict[str, float]] = {}
    for text in texts:
        for family, kind, lines in _families(text):
            heads.setdefault(family, [line for line in lines if line.startswith("#")])
            found = samples.setdefault(family, {})
            added = _is_added(family, kind)
            for line in lines:
                if line.startswith("#"):
                    continue
                name, _, value = line.rpartition(" ")
                number = float(value)
                before = found.get(name)
                if before is None:
                    found[name] = number
                else:
                    found[name] = before + number if added else max(before, number)
    lines = []
    for family, head in heads.items():
        lines += head
        lines += [f"{name} {_number(value)}" for name, value in samples[family].items()]
    return "\n".join((*lines, ""))


def _counters(text: str) -> str:
    """The part of a page that never falls."""
    lines = [
        line
        for family, kind, found in _families(text)
        if kind != "gauge" and _is_added(family, kind)
        for line in found
    ]
    return "\n".join((*lines, ""))


def _families(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """The families of a page: name, kind, and lines."""
    family, kind, lines = "", "untyped", list[str]()
    for line in text.splitlines():
        words = line.split(" ", 3)
        if line.startswith("#") and len(words) > 2 and words[2] != family:  # noqa: PLR2004
            if lines:
                yield family, kind, lines
            family, kind, lines = words[2], "untyped", []
        if line.startswith("# TYPE"):
            kind = words[3]
        lines.append(line)
    if lines:
        yield family, kind, lines


def _labels(line: str) -> set[str]:
    """The labels of a sample, with their values; those of a model and a version have no commas."""
    return set(line.partition("{")[2].rpartition("}")[0].split(","))


def _is_added(family: str, kind: str) -> bool:
    name = family.removesuffix("_total")
    return name in _PARTS or (kind != "gauge" and name not in _WHOLE)


def _number(value: float) -> str:
    """As short as it can be read back."""
    return repr(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)


# -- JSON ------------------------------------------------------------------------------------------


def _statistics(said: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Triton's statistics of models, by name and version."""
    models: dict[tuple[str, str], dict[str, Any]] = {}
    for told in said:
        for one in told:
            key = one["name"], one["version"]
            models[key] = _model(models[key], one) if key in models else dict(one)
    return list(models.values())


def _model(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    sizes: dict[int, Any] = {}
    for row in (*one["batch_stats"], *other["batch_stats"]):
        size = row["batch_size"]
        sizes[size] = {**_sum(sizes[size], row), "batch_size": size} if size in sizes else row
    rest = {"name", "version", _LATEST, "batch_stats"}
    counted = _sum(*({k: v for k, v in this.items() if k not in rest} for this in (one, other)))
    return {
        "name": one["name"],
        "version": one["version"],
        _LATEST: max(one[_LATEST], other[_LATEST]),
        **counted,
        "batch_stats": [sizes[size] for size in sorted(sizes)],
    }


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Add up the numbers of two objects of the same keys, however deep."""
    return {
        key: _sum(value, other[key]) if isinstance(value, dict) else value + other[key]
        for key, value in one.items()
    }


def _seen(said: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What has run of versions so far."""
    models: dict[str, dict[str, Any]] = {}
    for told in said:
        for which, one in told.items():
            before = models.get(which)
            models[which] = dict(one) if before is None else _both(before, one)
    return models


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    runs: dict[int, dict[str, Any]] = {}
    for run in (*one["runs"], *other["runs"]):
        rows = run["rows"]
        runs[rows] = {**_sum(runs[rows], run), "rows": rows} if rows in runs else run
    return {
        "cpu_s": one["cpu_s"] + other["cpu_s"],
        "answered": one["answered"] + other["answered"],
        "tail_ratio": max(one["tail_ratio"], other["tail_ratio"]),
        "handover_s": max(one["handover_s"], other["handover_s"]),
        "runs": [runs[rows] for rows in sorted(runs)],
    }


def _recent(said: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The last batches of versions, in the order in which they ended."""
    models: dict[str, list[Mapping[str, Any]]] = {}
    for told in said:
        for which, columns in told.items():
            models.setdefault(which, []).append(columns)
    return {which: _in_order(columns) for which, columns in models.items()}


def _in_order(columns: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Put tables together whose first column is to rise."""
    names = list(columns[0])
    rows = sorted(row for one in columns for row in zip(*one.values(), strict=True))
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
