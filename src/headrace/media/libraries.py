"""The optional libraries, imported when a card needs them."""

from __future__ import annotations

import importlib
from typing import Any

from headrace.errors import BackendMissing

# Kind of medium → the module and what to install for it.
_LIBRARIES: dict[str, tuple[str, str]] = {
    "image": ("PIL.Image", "headrace[image]"),
    "audio": ("soundfile", "headrace[audio]"),
    "text": ("tokenizers", "headrace[text]"),
}


def load(kind: str) -> Any:
    """Import the library of a kind of medium.

    Raises:
        BackendMissing: it is not installed; the message names the extra.
    """
    module, extra = _LIBRARIES[kind]
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a wheel without its C library
        raise BackendMissing(
            f"accepts: {kind} needs {module.partition('.')[0]}, which is not installed, or "
            f"broken: pip install '{extra}' ({error})"
        ) from error
