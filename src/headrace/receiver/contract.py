"""The one function in which all fronts meet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from headrace.receiver.catalog import ServedModel
from headrace.values import Request, Response

Receive = Callable[[], "asyncio.Future[dict[str, Any]]"]
"""ASGI's receive: after the body it tells, at once, whether the client is still there."""

Infer = Callable[[Request, ServedModel, Receive], Awaitable[Response]]
"""Validate, queue, run, process: one request in, its outputs back, or a ``HeadraceError``."""
