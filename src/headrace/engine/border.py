"""The border of a process that loads models: an engine, or a lab of the tuner."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import BinaryIO

from headrace.errors import HeadraceError, InferenceFailed, InvalidInput, ModelLoadError
from headrace.outlets import open_outlets

_MOST_CHARACTERS = 4096


def begin() -> BinaryIO:
    """Set the process up, and return where its reports go: what was its standard output.

    Whatever libraries print goes to standard error.
    """
    open_outlets()
    faulthandler.enable()
    # Ctrl-C reaches the whole foreground group; when to stop is the starter's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return reports


def refusal(error: Exception) -> HeadraceError:
    """What the starter is told of an error: libraries raise what their backends do not know."""
    if isinstance(error, InvalidInput):  # inputs of warm-up: nobody sent any
        return InferenceFailed(error.message)
    if isinstance(error, HeadraceError):
        return error
    if isinstance(error, MemoryError):
        return ModelLoadError(f"there is not enough memory to load and warm it up: {error}")
    return ModelLoadError(f"{type(error).__name__}: {str(error)[:500]}")


def cut(text: str) -> str:
    """What the starter is told of a text: names of a file may be in it, which may be megabytes."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
