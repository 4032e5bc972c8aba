"""structlog without rich, which it imports where it is installed, for coloured tracebacks alone.

Processes that print none import this before all else: rich is a tenth of what their start costs.
"""

from __future__ import annotations

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment] # no import finds it
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
