"""A command of ``headrace`` that answers with JSON, run as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def ask(*words: str) -> dict[str, Any]:
    """Run one, ``--json`` among its words, and return what it says.

    Raises:
        RuntimeError: it failed; the message is its own.
    """
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *words],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    if not done.stdout:
        raise RuntimeError(f"headrace {words[0]} said nothing: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    if not found["ok"]:
        raise RuntimeError(f"headrace {words[0]} failed: {found}")
    return found
