"""No page of others may show the dashboard inside itself, where it could steer the clicks."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The second says it to browsers that do not know the first.
HEADERS = {"content-security-policy": "frame-ancestors 'none'", "x-frame-options": "DENY"}


class Alone:
    """Tells it to the browser with every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, told)
