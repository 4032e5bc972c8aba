"""Headrace serves deep-learning models under heavy concurrency, tuned to a latency objective.

``headrace serve model.onnx`` on the command line; see ``app`` for how it is composed.
"""

import importlib
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "HeadraceError", "__version__"]

__version__ = "0.1.0"

INTERRUPTED_STATUS = 130
"""How a process ends that Ctrl-C has ended: 128 + SIGINT, as shells say it."""

if not TYPE_CHECKING:  # type checkers know the names from above, and no others

    def __getattr__(name: str) -> Any:
        """The clients are imported when they are asked for: a server and its engines never do."""
        if name in {"AsyncClient", "Client"}:
            return getattr(importlib.import_module("headrace.client"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
