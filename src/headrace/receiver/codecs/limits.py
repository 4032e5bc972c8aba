"""How much may come at once, and what is said of more."""

from __future__ import annotations

from headrace.errors import BodyTooLarge

QUESTION_BYTES = 16 * 1024
"""The longest call that only asks how the server or a model is: it has names in it, and no more.

Such calls are answered also when all places are taken, so nothing else bounds what they hold.
"""


def too_large(found: str, limit_bytes: int) -> BodyTooLarge:
    """The error of what was found to be over a limit: that of bodies can be raised."""
    fix = "send less at once"
    if limit_bytes != QUESTION_BYTES:
        fix += ", or raise server.max_body_mib"
    return BodyTooLarge(f"{found}: {fix}")
