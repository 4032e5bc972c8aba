"""Which versions are served: both servers say it in the same words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headrace.importers.rules import Draft, Imported, Spot

_HIGHEST = 2**63 - 1


def add_versions(draft: Draft, spot: Spot) -> None:
    """Map ``latest``, ``all`` or ``specific``."""
    message = draft.only(spot).message()
    policy: Any = "all"
    if spot.field.name == "latest":
        count = message.one("num_versions")
        policy = {"latest": max(1, count.whole()) if count else 1}
    elif spot.field.name == "specific":
        versions = [field.whole() for field in message.all("versions")]
        policy = {"specific": list(dict.fromkeys(versions))}
        if not versions or not 0 <= min(versions) <= max(versions) <= _HIGHEST:
            draft.lose(spot, "versions are numbers from 0; at least one must be named")
            return
    draft.put(spot, "versions", policy)


def with_default(one: Imported) -> Imported:
    """Say what both servers do when they are not told: they serve the newest version only."""
    if one.shared or "versions" in one.keys:
        return one
    origin = f"{one.source}: says nothing of it, which means the newest there"
    return replace(
        one,
        keys={**one.keys, "versions": {"latest": 1}},
        origins={**one.origins, "versions": origin},
    )
