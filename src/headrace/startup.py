"""What a process of the server does before its other imports, and after them.

It imports this first, and nobody else does. Imports make only what stays, so whoever looks for
garbage meanwhile finds none, and takes a tenth of their time. And structlog imports rich where it
is installed, for coloured tracebacks alone, which no such process prints.
"""

from __future__ import annotations

import gc
import sys

gc.disable()

if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment] # no import finds it
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]


def imported() -> None:
    """Look for garbage again, among what is made from now on."""
    gc.freeze()
    gc.enable()
