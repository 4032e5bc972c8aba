"""Places of models that are no folders of this machine: URLs of object stores and web servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

EXTRAS = {"s3": "s3", "gs": "gcs", "http": "http", "https": "http"}
"""The schemes that are known, and what of ``pip install 'headrace[...]'`` reads each."""

FILE = "file://"
"""Begins the URL of what lies on this machine, which is a path."""

_BETWEEN = "://"
_EMPTY = ("", FILE)
# What a URL may have as it is (RFC 3986, 2.2), and what has been encoded already.
_KEPT = "%/:@!$&'()*+,;="


class Url(str):
    """A place in an object store or on a web server: ``s3://bucket/models``.

    It has a known scheme, a bucket or host, and no slash at its end.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Url:
        """Read one.

        Raises:
            ValueError: it is none that is known; the message says what it should be.
        """
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise ValueError(f"is no URL: {error}") from error
        if parts.scheme not in EXTRAS:
            raise ValueError(f"should be a path or one of {', '.join(f'{s}://' for s in EXTRAS)}")
        if not parts.netloc:
            raise ValueError(f"names no place behind {parts.scheme}://")
        if "@" in parts.netloc:
            raise ValueError("should have no password in it: that belongs in ~/.netrc")
        if parts.query or parts.fragment or not text.isprintable() or " " in text:
            raise ValueError("should have no ?, no # and no spaces in it")
        inner = unquote(parts.path.rstrip("/")).split("/")[1:]
        if any(name in {"", ".", ".."} for name in inner):
            raise ValueError("should have no empty name, . or .. between its slashes")
        path = parts.path
        if parts.scheme.startswith("http"):  # as browsers send what is typed
            path = encoded(path)
        return cls(f"{parts.scheme}{_BETWEEN}{parts.netloc}{path}".rstrip("/"))

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Settings make one with ``read``; a dump has its text."""
        return core_schema.is_instance_schema(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @property
    def scheme(self) -> str:
        """``s3``, ``gs``, ``http`` or ``https``."""
        return self.partition(_BETWEEN)[0]

    @property
    def place(self) -> str:
        """What comes behind the scheme: ``bucket/models``."""
        return self.partition(_BETWEEN)[2]

    @property
    def name(self) -> str:
        """The last of its names, as that of a path; web servers have them encoded."""
        last = self.place.rpartition("/")[2]
        return unquote(last) if self.scheme.startswith("http") else last

    def is_within(self, other: Url) -> bool:
        """Whether it is that place or one below it."""
        return self == other or self.startswith(f"{other}/")


def encoded(path: str) -> str:
    """Encode what may not stand in a URL; what is encoded already stays."""
    return quote(path, safe=_KEPT)


def is_url(text: str) -> bool:
    """Whether a text that stands where a path may stand is none."""
    return _BETWEEN in text and not text.startswith(FILE)


def read(said: Any) -> Any:
    """Make a URL of a text that is one, and leave everything else to who asks.

    Raises:
        ValueError: it is none that is known.
    """
    if not isinstance(said, str):
        return said
    return Url.parse(said) if is_url(said) else said.removeprefix(FILE)


def _named(said: Any) -> Any:
    if said in _EMPTY:  # else it would be the folder that one happens to be in
        raise ValueError("is no path: name one, or write null for none")
    try:
        str(said).encode()
    except UnicodeEncodeError as error:  # between our processes it travels as text
        raise ValueError("is not UTF-8 text: rename it") from error
    return said


def _placed(said: Any) -> Any:
    if said in _EMPTY:
        raise ValueError("is no path: name one")
    return read(said)


LocalPath = Annotated[Path, BeforeValidator(_named)]
"""A file or folder of this machine; an empty text names none."""

Location = Annotated[Path | Url, BeforeValidator(_placed)]
"""Where models lie: on this machine, or in a store."""
