"""Who hears of engines in tests that do not listen."""

from __future__ import annotations

from headrace.loader.keeper import Audience

NOBODY = Audience(on_serving=lambda _: None, on_state=lambda _: None, on_progress=lambda *_: None)
