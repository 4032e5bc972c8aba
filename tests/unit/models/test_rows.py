from __future__ import annotations

from typing import Any

import pytest

from headrace.models.rows import row

NOW_S = 1_800_000_000.0
SAID: dict[str, Any] = {
    "name": "digits",
    "version": 3,
    "state": "serving",
    "reason": "",
    "since_unix_s": NOW_S - 7,
    "labels": ["canary", "stable"],
    "memory_bytes": 300 * 2**20,
    "backend": "openvino",
    "precision": "f32",
    "load_s": {"start": 0.5, "load": 1.0, "warm": 2.25},
    "cached": False,
}


def test_a_version_that_serves_is_told_whole() -> None:
    told = row(SAID, NOW_S)
    assert told == (
        "digits",
        "3",
        "serving",
        "canary, stable",
        "openvino f32",
        "300 MiB",
        "3.75 s",
        "start 0.50 + load 1.00 + warm 2.25",
        "7 s",
        "",
    )


def test_what_came_from_the_cache_says_so() -> None:
    assert row(SAID | {"cached": True}, NOW_S).parts.endswith(", from the cache")


def test_a_version_that_does_not_serve_has_no_costs() -> None:
    failed = {key: SAID[key] for key in ("name", "version", "since_unix_s", "labels")}
    told = row(failed | {"state": "failed", "reason": "no", "memory_bytes": None}, NOW_S)
    assert (told.backend, told.memory, told.loaded_in, told.parts, told.reason) == (
        "",
        "",
        "",
        "",
        "no",
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (3600 * 5 + 61, "5 h 1 min"),
        (86400 * 2 + 3600 * 3, "2 d 3 h"),
    ],
)
def test_since_is_told_in_its_largest_units(seconds: float, text: str) -> None:
    assert row(SAID | {"since_unix_s": NOW_S - seconds}, NOW_S).since == text
