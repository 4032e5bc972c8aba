"""``/openapi.json`` and ``/docs``: what is here, for programs and for people.

The page is one static file without anything from elsewhere; its script draws it from the document.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.resources
import re
from collections.abc import Sequence

import orjson

from headrace.errors import HeadraceError
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.exchange import Exchange, Reply
from headrace.receiver.openapi.document import Route, document

_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


class DocsPage:
    """Writes the document when the models have changed, the page once."""

    def __init__(self, catalog: Catalog, routes: Sequence[Route]) -> None:
        self._catalog = catalog
        self._routes = tuple(routes)
        self._models: tuple[ServedModel, ...] | None = None
        self._shown_default: ServedModel | None = None
        self._document = b""
        self._writing = asyncio.Lock()
        self._page: Reply | None = None

    async def openapi(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /openapi.json``."""
        async with self._writing:  # once, whoever else comes for it meanwhile
            models, default = tuple(self._catalog.served()), self._default()
            if (
                self._models is None
                or not _same(models, self._models)
                or default is not self._shown_default
            ):
                # Of hundreds of models it takes a third of a second.
                self._document = await asyncio.to_thread(
                    lambda: orjson.dumps(document(self._routes, models, default))
                )
                self._models, self._shown_default = models, default
            return Reply(200, self._document)

    async def page(self, exchange: Exchange) -> Reply:  # noqa: ARG002
        """``GET /docs``."""
        if self._page is None:
            self._page = read_page()
        return self._page

    def _default(self) -> ServedModel | None:
        """The model of ``POST /predict``, when there is one and it serves."""
        try:
            return self._catalog.find(self._catalog.default())
        except HeadraceError:
            return None


def _same(first: Sequence[ServedModel], second: Sequence[ServedModel]) -> bool:
    """Whether they are the very same objects: one is made anew when anything about it changes."""
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def read_page() -> Reply:
    """Read the page, and allow its own script and style and nothing else."""
    page = (
        importlib.resources.files("headrace.receiver.openapi") / "pages" / "docs.html"
    ).read_bytes()
    hashes = {
        kind: base64.b64encode(hashlib.sha256(text).digest()).decode()
        for kind, text in ((m[1].decode(), m[2]) for m in _INLINE.finditer(page))
    }
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; "
        f"style-src 'sha256-{hashes['style']}'; connect-src 'self'; img-src blob: data:; "
        "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )
    return Reply(200, page, headers)
