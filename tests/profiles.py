"""The profile of a model that nobody has measured, for tests that need one."""

from __future__ import annotations

from headrace.engine_control import Profile, SignatureMessage
from headrace.values import Signature


def plain(signature: Signature, backend: str = "fake", **known: object) -> Profile:
    """One instance of one thread that runs one row at a time, unless more is ``known``."""
    told: dict[str, object] = {
        "signature": SignatureMessage.of(signature),
        "backend": backend,
        "precision": "f32",
        "instances": 1,
        "threads": 1,
        "batch_sizes": (1,),
        "pads": False,
        "measurements": (),
        "load_s": 0,
        "warm_s": 0,
        "memory_bytes": 0,
    }
    return Profile.model_validate(told | known)
